# What each server is. The settings are in pillar, by the same id.
base:
  '*':
    - minion
    - core
  'registry or kingfisher-main':
    - match: compound
    - postgres
    - rabbitmq
    - docker
    - kingfisher.archive
    - kingfisher.collect
    - python_apps
    - docker_apps
  deposit:
    - swh.deposit
  kingfisher-replica:
    - postgres.replica
  docs:
    - tinyproxy
