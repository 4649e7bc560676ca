# The settings of each server. Secrets are in private/, which git ignores, and which need not exist.
base:
  '*':
    - common
  registry:
    - registry
    - private.registry
    - ignore_missing: True
  kingfisher-main:
    - collect
    - private.kingfisher-main
    - ignore_missing: True
  deposit:
    - deposit
    - private.deposit
    - ignore_missing: True
  kingfisher-replica:
    - kingfisher_replica
    - private.kingfisher-replica
    - ignore_missing: True
  docs:
    - docs
    - private.docs
    - ignore_missing: True
