# The settings of each server. Secrets are in private/, which git ignores, and which need not exist.
base:
  registry:
    - registry
    - private.registry
    - ignore_missing: True
  kingfisher-main:
    - collect
    - private.kingfisher-main
    - ignore_missing: True
