# What each server is. The settings are in pillar, by the same id.
base:
  registry:
    - minion
    - kingfisher.archive
