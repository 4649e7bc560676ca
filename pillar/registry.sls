# The Data Registry: an example to copy, with every setting. Those in comments show their defaults, or an example.
# Secrets are not here. Put them into private/registry.sls, under the same keys, where git ignores them; or encrypt them
# for the master's key, and begin the file with `#!yaml|gpg`:
#
#   kingfisher_archive:
#     s3:
#       access_key_id: AKIA…
#       secret_access_key: …
#       session_token: …  # if the keys are temporary
#     database:
#       password: …
#   pelican:
#     database:
#       password: …
#   kingfisher_process:
#     database:
#       password: …
#   docker_apps:
#     kingfisher_process:
#       env:
#         DATABASE_URL: postgresql://…
#   kingfisher_collect:
#     env:
#       RABBIT_URL: amqp://…
#   scrapyd:
#     username: collect
#     password: …
#
# Better still, leave them out of pillar: name a credentials_file and a passfile, which only root can read.

minion:
  # How the minion's own Python gets packages: onedir (salt-pip), venv (pip) or packages (Debian's). Found out if unset.
  python: null

kingfisher_archive:
  bucket: ocp-archive
  data_directory: /home/collect/scrapyd/data
  # With the name of Scrapyd's project.
  logs_directory: /home/collect/scrapyd/logs/kingfisher

  cache_file: /var/lib/kingfisher-archive/cache.sqlite
  lock_file: /run/lock/kingfisher-archive.lock
  min_age_days: 7
  storage_class: STANDARD_IA
  # How many crawls are archived at once.
  workers: 2

  s3:
    region: us-east-1
    # The keys of ~/.aws/credentials are used, unless one of these says otherwise.
    # profile: archive
    # credentials_file: /root/.config/kingfisher-archive/credentials
    # For a store other than Amazon's:
    # endpoint_url: https://s3.example.com
    connect_timeout: 10
    read_timeout: 60
    attempts: 5

  # Without it, Kingfisher Process is not asked whether it has loaded a crawl.
  database:
    host: localhost
    port: 5432
    name: kingfisher_process
    user: kingfisher_process
    # passfile: /root/.pgpass
    connect_timeout: 10

  # Without it, nothing is scheduled.
  schedule:
    # cron, which sends mail if a run fails; or salt, which puts every result into the master's job cache.
    by: cron
    user: root
    minute: 0
    hour: 3
    daymonth: '*'
    month: '*'
    dayweek: '*'
    # Only for cron. If unset, the mail goes to the user.
    # mailto: sysadmin@example.com
  cron_file: /etc/cron.d/kingfisher-archive

  # debug, info, warning, error or critical, for /var/log/salt/minion. If unset, as the minion's configuration says.
  log_level: info
  # sentry_dsn, a secret, sends errors to Sentry. Salt 3006 only.

# A Scrapyd host. See collect.sls, which describes the settings.
kingfisher_collect:
  user: collect
  group: deployer
  env:
    FILES_STORE: /home/collect/scrapyd/data
    RABBIT_EXCHANGE_NAME: kingfisher_process_data_registry_production
    RABBIT_ROUTING_KEY: kingfisher_process_data_registry_production_api
    KINGFISHER_API2_URL: http://localhost:8000

scrapyd:
  url: http://localhost:6800
  project: kingfisher
  logs_directory: /home/collect/scrapyd/logs
  databases_directory: /home/collect/scrapyd/dbs
  data_directory: /home/collect/scrapyd/data

pelican:
  # Of the tables dataset and exchange_rates. The user must own them, to import rates.
  database:
    host: localhost
    port: 5432
    name: pelican_backend
    user: pelican_backend
    # passfile: /root/.pgpass
    connect_timeout: 10
  # Where its compose file is, and the service to run commands in.
  directory: /data/deploy/pelican-backend
  service: cron
  # Whose commands these are. If unset, the owner of the directory.
  # user: deployer
  # Without Docker, the command that begins all of its commands:
  # manage: [/opt/pelican-backend/.venv/bin/python, manage.py]
  # For how long a command may take, in seconds.
  timeout: 600

kingfisher_process:
  database:
    host: localhost
    port: 5432
    name: kingfisher_process
    user: kingfisher_process
    # passfile: /root/.pgpass
    connect_timeout: 10
  directory: /data/deploy/kingfisher-process
  service: cron
  # user: deployer
  # manage: [/opt/kingfisher-process/.venv/bin/python, manage.py]
  timeout: 3600
  # Directories of this server, and where its containers see them.
  # paths:
  #   /home/collect/scrapyd/data: /data
  # After how many hours an unfinished collection counts as stuck.
  stuck_hours: 24

data_registry:
  # Where its compose file is, and the service to run commands in, which must see EXPORTER_DIR.
  directory: /data/deploy/data-registry
  service: cron
  # Whose commands these are. If unset, the owner of the directory.
  # user: deployer
  # Without Docker, the command that begins all of its commands, and what shows the log of a task:
  # manage: [/opt/data-registry/.venv/bin/python, manage.py]
  # logs: [journalctl, --unit, 'registry-{task}', --lines, '{lines}']
  # For how long a command may take, in seconds.
  timeout: 600
  # What the links to its admin begin with.
  # public_url: https://data.open-contracting.org
  # What deletions have yet to see gone, and a lock.
  state_directory: /var/lib/kingfisher-data-registry
  # After how many hours without any change a job counts as stalled, and a lock file as left behind.
  stalled_hours: 24
  lock_hours: 24
  # Queues of Pelican backend that are to be empty before its task is restarted.
  # pelican_queues: [pelican_backend_data_registry_production_ocds_kingfisher_extract_init]

postgres:
  # Debian's own, if unset. Not changed on a server that is there.
  # version: 17
  # Packages that are not Debian's: a line of sources.list, and the key.
  # repository:
  #   name: deb [signed-by=/usr/share/keyrings/postgresql.asc] https://packages.example.com/postgresql trixie main
  #   key_url: https://packages.example.com/postgresql.asc
  # data_directory: /data/storage/postgresql/17/main
  # Connections from anywhere, with a password and TLS: for containers. A firewall keeps others out.
  public_access: True
  # Addresses of replicas.
  # replica_ipv4: [192.0.2.7]
  # replica_ipv6: ['2001:db8::7']
  # Lines of pg_hba.conf.
  # hba:
  #   - hostssl all all 192.0.2.0/24 scram-sha-256
  configuration:
    name: registry
    # What suits this machine; or none.
    source: shared
    context:
      storage: ssd
      type: oltp
      max_connections: 300
      content: |
        # Checkpoints are few although much is written.
        max_wal_size = 10GB
    # Parameters of postgresql.conf, one by one.
    # settings:
    #   cursor_tuple_fraction: 1.0
  groups:
    - kingfisher_process_read
  # Their passwords are in private/, as postgres:users:NAME:password. Those without are known by their Linux user.
  users:
    data_registry: {}
    kingfisher_process: {}
    # replica:
    #   replication: True
    ana:
      groups:
        - kingfisher_process_read
  databases:
    data_registry:
      user: data_registry
    kingfisher_process:
      user: kingfisher_process
      # extensions: [btree_gin]
      # schemas:
      #   views: kingfisher_process
      # Who may read which tables, by schema: all, with those to come, if none is named.
      privileges:
        public:
          kingfisher_process_read:
  # Without it, there is no backup. The keys, postgres:backup:s3:access_key_id and secret_access_key, are in private/.
  backup:
    type: script
    location: ocp-registry-backup/database
    databases:
      - data_registry
    hour: 4
    minute: 45
    # Without it, no dump is deleted.
    # retention_days: 30
    # mailto: sysadmin@example.com
    s3:
      region: us-east-1
      # endpoint_url: https://s3.example.com
    # Or pgBackRest. Its keys, s3_key and s3_key_secret, are in private/.
    # type: pgbackrest
    # stanza: registry
    # repo_path: /registry
    # repo_type: s3
    # s3_bucket: ocp-registry-backup
    # s3_endpoint: s3.us-east-1.amazonaws.com
    # s3_region: us-east-1
    # process_max: 4
    # retention_full: 4
    # cron: |
    #   45 4 * * * postgres pgbackrest --stanza=registry backup

# Users are in private/, since each has a password:
#
#   rabbitmq:
#     users:
#       kingfisher_process:
#         password: …
#         write: True
rabbitmq:
  # repository:
  #   name: deb [signed-by=/usr/share/keyrings/rabbitmq.asc] https://packages.example.com/rabbitmq trixie main
  #   key_url: https://packages.example.com/rabbitmq.asc
  # Options of rabbitmq.conf.
  configuration:
    disk_free_limit.relative: '1.5'
  guest_enabled: False
  vhosts: []
  # By virtual host, then by name: pattern, definition, apply_to, priority.
  policies: {}

# Applications run as this user, and write files by its number, which has to be that in /etc/passwd.
docker:
  user: deployer
  uid: 1002
  # Debian 12 has no compose plugin: name the packages of a repository that has.
  # packages: [docker.io, docker-cli, docker-compose]
  # What /etc/docker/daemon.json has besides the kind of log.
  # daemon:
  #   registry-mirrors: [https://registry.example.com]

# Each has a directory with docker-compose.yaml and .env. Keys that are not told of here are for its own template.
docker_apps:
  registry:
    target: data-registry
    # directory: /data/deploy/data-registry
    # The template of its compose file: configuration names one of salt/docker_apps/files/, source any other.
    # configuration: registry
    # source: salt://example.yaml
    # images:
    #   django: ghcr.io/open-contracting/data-registry-django:latest
    #   static: ghcr.io/open-contracting/data-registry-static:latest
    # With False, nothing is pulled: images have to be on the server.
    pull: True
    # Where it writes what is downloaded from it. The user owns the directory.
    host_dir: /data/storage/exporter
    site: registry
    port: 8002
    static_port: 8003
    # Environment variables. Those that are secret go into private/.
    env:
      DJANGO_PROXY: True
      ALLOWED_HOSTS: data.example.com
      SECURE_HSTS_SECONDS: 31536000
      GUNICORN_CMD_ARGS: --workers 4
      RABBIT_EXCHANGE_NAME: data_registry_production
      KINGFISHER_PROCESS_URL: http://host.docker.internal:8000
      SCRAPYD_URL: http://host.docker.internal:6800
    # The service that commands are run in, and the command that is run before new images are brought up.
    service: cron
    migrate: python manage.py migrate
    # The services that stop while the server is halted. If unset, all.
    workers: [exporter, flattener, wiper]
    # Besides what containers say of themselves: a page, or a command in the container of a service.
    health:
      url: http://localhost:8002/
      headers:
        Host: data.example.com
      # command: python manage.py check
      # service: web
      timeout: 120
    # Each is run in a container of its own, one at a time.
    cron:
      manageprocess:
        command: python manage.py manageprocess
        minute: '*/5'
        # hour: '*'
        # daymonth: '*'
        # month: '*'
        # dayweek: '*'
        # service: cron
    # Directories for the user, in host_dir if that is set, else in its own.
    # volumes: [media]
    # host_dir: /data/storage/registry
    # For how long Docker, or a command, may take, in seconds.
    timeout: 3600
  kingfisher_process:
    target: kingfisher-process
    port: 8000
    env:
      LOCAL_ACCESS: True
      ALLOWED_HOSTS: '*'
      RABBIT_EXCHANGE_NAME: kingfisher_process_data_registry_production
      REQUESTS_POOL_MAXSIZE: 20
    service: cron
    migrate: python manage.py migrate
