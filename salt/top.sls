# What each server is. The settings are in pillar, by the same id.
base:
  'registry or kingfisher-main':
    - match: compound
    - minion
    - kingfisher.archive
    - kingfisher.collect
