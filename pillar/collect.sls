# Data support, kingfisher-main: Scrapyd, incremental crawls, Kingfisher Process and Pelican, with their PostgreSQL and
# RabbitMQ. An example to copy, with every setting of what collects; registry.sls describes the others. Those in comments
# show their defaults, or an example. Secrets are not here. Put them into private/, under the same keys, where git
# ignores them:
#
#   kingfisher_archive:
#     s3:
#       access_key_id: AKIA…
#       secret_access_key: …
#     database:
#       password: …
#   postgres:
#     users:
#       kingfisher_process:
#         password: …
#       replica:
#         password: …
#   rabbitmq:
#     users:
#       kingfisher_process:
#         password: …
#         write: True
#   docker_apps:
#     kingfisher_process:
#       env:
#         DATABASE_URL: postgresql://…
#   kingfisher_collect:
#     env:
#       RABBIT_URL: amqp://…
#   python_apps:
#     kingfisher_collect:
#       database:
#         password: …
#       env:
#         SENTRY_DSN: https://…
#   scrapyd:
#     username: collect
#     password: …
#   kingfisher_operators:
#     james:
#       registry:
#         password: …

# A Scrapyd host. Without this key, there is none.
kingfisher_collect:
  user: collect
  # Others that read and delete what is collected are in this group.
  group: deployer
  # directory: /home/collect/scrapyd
  # Which Python the virtual environment is made of.
  # python: /usr/bin/python3
  # A pinned requirements file: salt://…, or a URL with a hash. A change of it makes the virtual environment anew.
  # requirements: salt://kingfisher/collect/files/requirements.txt
  # requirements_hash: sha256=…

  # scrapyd.conf. Any other option of Scrapyd's can be set here too.
  scrapyd:
    bind_address: 127.0.0.1
    http_port: 6800
    # How many crawls run at once. With 0, it is max_proc_per_cpu for each processor.
    max_proc: 0
    max_proc_per_cpu: 4
    # Logs of each spider that are kept.
    jobs_to_keep: 5
    finished_to_keep: 100
    poll_interval: 5.0

  # Environment variables of the crawls.
  env:
    FILES_STORE: /home/collect/scrapyd/data
    RABBIT_EXCHANGE_NAME: kingfisher_process_data_support_production
    RABBIT_ROUTING_KEY: kingfisher_process_data_support_production_api
    KINGFISHER_API2_URL: http://localhost:8000

  # For how long crawls may come to their own end before a restart, in seconds. They go on after it.
  # drain_timeout: 300
  # _report.log beside each finished log, every hour.
  reports: True
  # Delete crawls and logs to which nothing was written for so many days, once the archive has decided on them. Needs
  # pillar kingfisher_archive. If unset, nothing is deleted.
  # retention_days: 90
  # mailto: sysadmin@example.com

# How the functions of the module scrapyd reach it.
scrapyd:
  url: http://localhost:6800
  project: kingfisher
  logs_directory: /home/collect/scrapyd/logs
  databases_directory: /home/collect/scrapyd/dbs
  data_directory: /home/collect/scrapyd/data

# Sets http_proxy, https_proxy and no_proxy for Scrapyd.
# tinyproxy:
#   url: http://proxy.example.com:8888
#   no_proxy: localhost,127.0.0.1

python_apps:
  kingfisher_collect:
    user: incremental
    # directory: /home/incremental
    # virtualenv: /home/incremental/kingfisher-collect/.ve
    # program_directory: /opt/kingfisher-incremental
    git:
      url: https://github.com/open-contracting/kingfisher-collect.git
      branch: main
      target: kingfisher-collect
    database:
      host: localhost
      port: 5432
      name: kingfisher_collect
      user: kingfisher_collect
      # passfile: /home/incremental/.pgpass
      connect_timeout: 10
    # Only for crawls with cardinal: True.
    cardinal:
      binary: /home/incremental/.cargo/bin/ocdscardinal
      # SPIDER.ini of each of these crawls.
      settings_directory: /home/incremental/cardinal
    cron:
      file: /etc/cron.d/kingfisher-incremental
      hour: 0
      minute: 15
      # If unset, the mail about runs that fail goes to the user.
      # mailto: sysadmin@example.com
    # Environment variables of the crawls.
    env:
      http_proxy: http://proxy.example.com:8888
      https_proxy: http://proxy.example.com:8888
      no_proxy: localhost,sentry.io,standard.open-contracting.org
    crawls:
      - identifier: DOMINICAN_REPUBLIC
        spider: dominican_republic_api
        crawl_time: '2023-07-13'
        spider_arguments: -a compile_releases=true
        cardinal: True
        users:
          - dgcp
      - identifier: ECUADOR
        spider: ecuador_sercop_bulk
        crawl_time: '2015-01-01'
        settings:
          HTTPPROXY_ENABLED: 'True'
        # Monthly, not daily.
        day: 1

  # Any other application in Python, with a user of its own. These are its settings, with their defaults or an example.
  # collect_generic:
  #   user: collect_generic
  #   directory: /home/collect_generic
  #   git:
  #     url: https://github.com/open-contracting/collect-generic.git
  #     branch: main
  #     target: collect-generic
  #   python: /usr/bin/python3
  #   virtualenv: /home/collect_generic/collect-generic/.ve
  #   requirements: requirements.txt
  #   # Environment variables. Secrets go into private/.
  #   env:
  #     LOG_LEVEL: INFO
  #   # Files below the user's home, and where they come from.
  #   config:
  #     collect-generic/settings.json: salt://collect_generic/files/settings.json
  #   # Commands are run in the checkout, with its virtual environment first in PATH.
  #   services:
  #     worker:
  #       command: python worker.py
  #   timers:
  #     report:
  #       command: python report.py
  #       # systemd.time(7)
  #       calendar: daily
  #   cron:
  #     run:
  #       command: python run.py
  #       minute: 0
  #       hour: 5
  #       daymonth: '*'
  #       month: '*'
  #       dayweek: '*'
  #   # If unset, system_contacts:cron_admin.
  #   mailto: sysadmin@example.com

# Users of this machine who deploy spiders: by user, then by the name of the server in ~/.config/scrapy.cfg.
# kingfisher_operators:
#   james:
#     registry:
#       url: https://collect.data.open-contracting.org/
#       project: kingfisher
#       username: collect

# See registry.sls, which describes these settings.
kingfisher_archive:
  bucket: ocp-archive-support
  data_directory: /home/collect/scrapyd/data
  logs_directory: /home/collect/scrapyd/logs/kingfisher
  s3:
    region: us-east-1
  database:
    user: kingfisher_process
  schedule:
    hour: 3
    minute: 0

postgres:
  # Connections from anywhere, with a password and TLS: for containers. A firewall keeps others out.
  public_access: True
  # The address of kingfisher-replica.
  replica_ipv4:
    - 192.0.2.7
  configuration:
    name: kingfisher-main
    source: shared
    context:
      storage: ssd
      type: oltp
      # kingfisher_replica.sls has as many.
      max_connections: 100
  groups:
    - kingfisher_process_read
  users:
    replica:
      replication: True
    kingfisher_collect: {}
    kingfisher_process: {}
    pelican_backend:
      groups:
        - kingfisher_process_read
    pelican_frontend: {}
    # Reads the table of an incremental crawl, above.
    dgcp: {}
  databases:
    kingfisher_collect:
      user: kingfisher_collect
    kingfisher_process:
      user: kingfisher_process
      privileges:
        public:
          kingfisher_process_read:
    pelican_backend:
      user: pelican_backend
    pelican_frontend:
      user: pelican_frontend

rabbitmq:
  configuration:
    disk_free_limit.relative: '1.5'

docker:
  user: deployer
  uid: 1005

docker_apps:
  kingfisher_process:
    target: kingfisher-process
    port: 8000
    env:
      LOCAL_ACCESS: True
      ALLOWED_HOSTS: '*'
      RABBIT_EXCHANGE_NAME: kingfisher_process_data_support_production
      SCRAPYD_URL: http://host.docker.internal:6800
      REQUESTS_POOL_MAXSIZE: 20
      ENABLE_CHECKER: True
    service: cron
    migrate: python manage.py migrate
  pelican_backend:
    target: pelican-backend
    # Whether it has the worker that filters datasets.
    filter: True
    env:
      RABBIT_EXCHANGE_NAME: pelican_backend_data_support_production
      KINGFISHER_PROCESS_MAX_SIZE: 30000
    service: cron
    cron:
      update-exchange-rates:
        command: python manage.py update-exchange-rates
        minute: 30
        hour: 12
  pelican_frontend:
    target: pelican-frontend
    site: pelican_frontend
    port: 8001
    static_port: 8004
    host_dir: /data/storage/pelican-frontend
    # Whether it serves reports, with its static files.
    reports: True
    env:
      DJANGO_PROXY: True
      ALLOWED_HOSTS: pelican.example.com
      RABBIT_EXCHANGE_NAME: pelican_backend_data_support_production
    service: web
    migrate: python manage.py migrate
