# A Software Heritage deposit server. An example to copy, with every setting. Those in comments show their defaults, or
# an example. Secrets are not here. Put them into private/, under the same keys, where git ignores them:
#
#   deposit:
#     clients:
#       hal:
#         password: …
#       checker:
#         password: …
#     server:
#       broker: amqp://swhdeposit:…@rabbitmq.example.com:5672/
#       sentry_dsn: https://…
#       config:
#         private:
#           secret_key: …
#           db:
#             password: …

deposit:
  # production or development.
  platform: production
  configuration_file: /etc/softwareheritage/deposit/server.yml
  bin_directory: /opt/swh-deposit/bin
  url: http://127.0.0.1:5006/1

  collections:
    - hal
    - checker
  clients:
    hal:
      collections:
        - hal
      provider_url: https://hal.example.com/
      domain: hal.example.com
    checker:
      collections:
        - checker
      provider_url: https://checker.example.com/
      domain: checker.example.com
  # Clients that may not deposit any more.
  # absent:
  #   - former

  # The end-to-end check. Without this key, there is none.
  check:
    # One of the clients above, or one with a password here, in private/.
    username: checker
    # The public address, to have the way there checked as well. If unset, url above.
    # url: https://deposit.example.com/1
    # The default is the client's name.
    collection: checker
    # The default is under the client's provider_url.
    # origin_url: https://checker.example.com/kingfisher-salt-check
    # Seconds until the deposit is in the archive. Past critical, it is followed no more.
    warning: 120
    critical: 3600
    poll_interval: 5
    # Of each request.
    timeout: 30

  # The host. Without this key, there is none: what Salt put there is removed, and uploads, database and users stay.
  server:
    user: swhdeposit
    # The workers unpack what strangers deposit, and so are another user, which cannot read server.yml.
    worker_user: swhworker
    # Debian packages with the server, its loader and gunicorn, in place of a virtual environment. The check needs
    # python3-psycopg2 and python3-requests too.
    # packages: [python3-swh.deposit, python3-swh.loader.core, gunicorn, python3-psycopg2, python3-requests]
    # Which Python the virtual environment in /opt/swh-deposit is made of: 3.10 or later.
    # python: /usr/bin/python3
    # A pinned requirements file: salt://…, or a URL with a hash. A change of it makes the virtual environment anew.
    # requirements: salt://swh/deposit/files/requirements.txt
    # requirements_hash: sha256=…

    # Where it listens: an address, or the path of a Unix socket. A proxy in front of it passes everything on except
    # /1/private/ and /uploads/, which ask for no password.
    listen: 127.0.0.1:5006
    # How the workers reach it. If unset, as it listens; for a Unix socket, the proxy's own address.
    # url: http://127.0.0.1:5006
    # gunicorn's processes, and the seconds that one request may take: uploads are large.
    processes: 4
    timeout: 3600
    # Environment variables of the server and the workers.
    # env:
    #   SWH_SENTRY_ENVIRONMENT: production

    # PostgreSQL, its role and database on this host, if config:private:db:host is it. False: they are made elsewhere.
    manage_database: True

    # /etc/softwareheritage/deposit/server.yml, as it is.
    config:
      max_upload_size: 209715200
      checks: True
      allowed_hosts:
        - deposit.example.com
        - 127.0.0.1
      swh_authority_url: https://deposit.example.com/
      # basic, or keycloak.
      authentication_provider: basic
      # Only for keycloak, by which the passwords of the clients are kept.
      # keycloak:
      #   server_url: https://auth.example.com/auth/
      #   realm_name: SoftwareHeritage
      # cache_uri: 127.0.0.1:11211
      scheduler:
        cls: remote
        url: http://scheduler.example.com:5008/
      storage:
        cls: remote
        url: http://storage.example.com:5002/
      storage_metadata:
        cls: remote
        url: http://storage.example.com:5002/
      # Only for the production platform: development has these in its code.
      private:
        media_root: /srv/swh-deposit/uploads
        db:
          # Without a password, leave out the host, and set deposit:user: PostgreSQL then knows the service by its user.
          host: 127.0.0.1
          port: 5432
          name: swh-deposit
          user: swhdeposit

    # The workers, which take their tasks from the broker. Set one to False if it runs elsewhere.
    workers:
      checker:
        concurrency: 2
        max_tasks_per_child: 5
        log_level: info
      loader:
        concurrency: 1
        max_tasks_per_child: 5
        log_level: info
        # What is laid over its configuration file, by top-level key. The storage is the server's, if unset.
        # config:
        #   storage:
        #     cls: remote
        #     url: http://storage.example.com:5002/

    # When the checks run, and after how many seconds what the last one said is too old. No schedule: cron: ''.
    check:
      health:
        cron: '*/5 * * * *'
        stale_after: 900
      end_to_end:
        cron: '0 * * * *'
        stale_after: 10800
      # mailto: sysadmin@example.com
