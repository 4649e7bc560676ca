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
