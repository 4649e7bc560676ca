# A Software Heritage deposit server: packages, database, configuration, migrations, server, workers, clients, checks.
# If pillar lacks anything that it needs, nothing is changed.
{%- from "swh/deposit/map.jinja" import has_server, problems, server, database, workers, has_check, mailto, configuration,
    virtualenv, check_directory, check_state, cron_file, units, unit_files, bin, python, media_root, functions
    with context %}
{%- from "lib.jinja" import checked, owned, halted, current, install with context %}
{%- set requirements = configuration ~ '/requirements.txt' %}

{%- if not has_server %}

# If these states made it, and before that is forgotten: a server that others set up is left alone. Uploads, database and
# users stay.
swh-deposit-services-stopped:
  service.dead:
    - names:
      - deposit-worker@checker
      - deposit-worker@loader
      - deposit.socket
      - deposit.service
    - enable: False
    - prereq:
      - kingfisher_owned: swh-deposit-owned

swh-deposit-removed:
  file.absent:
    - names:
      - {{ cron_file }}
{%- for name in unit_files %}
      - {{ units }}/{{ name }}
{%- endfor %}
      - {{ configuration }}
      - {{ check_directory }}
      - {{ check_state }}
    - require:
      - service: swh-deposit-services-stopped
    - prereq:
      - kingfisher_owned: swh-deposit-owned

# With Debian packages, a virtual environment of this name is somebody else's.
swh-deposit-virtualenv-removed:
  file.absent:
    - name: {{ virtualenv }}
    - onlyif: test -e {{ virtualenv }}/.current
    - require:
      - service: swh-deposit-services-stopped
    - prereq:
      - kingfisher_owned: swh-deposit-owned

{{ owned('swh.deposit') }}

{%- else %}

{{ checked('swh.deposit', required=['deposit'], problems=problems) }}

{%- if not problems %}

{{ owned('swh.deposit', files=[configuration ~ '/server.yml', cron_file], units=unit_files) }}

swh-deposit-packages:
  pkg.installed:
    - pkgs:
      - cron
{%- if server.packages %}
{%- for name in server.packages %}
      - {{ name | json }}
{%- endfor %}
{%- else %}
      # It needs libmagic, which python-magic loads, and which has another name in each Debian.
      - file
      - python3-venv
{%- endif %}
{%- if database.is_here %}
      - postgresql
{%- endif %}
    - reload_modules: True

swh-deposit-users:
  user.present:
    - names:
      - {{ server.user | json }}
      - {{ server.worker_user | json }}
    - system: True
    - usergroup: True
    - home: /nonexistent
    - createhome: False
    - shell: /usr/sbin/nologin

# Each file in it is for one of the two users.
swh-deposit-configuration-directory:
  file.directory:
    - name: {{ configuration }}
    - user: root
    - group: root
    - mode: '0755'
    - makedirs: True

{%- if not server.packages %}

swh-deposit-requirements:
  file.managed:
    - name: {{ requirements }}
    - source: {{ server.requirements | json }}
{%- if server.requirements_hash %}
    - source_hash: {{ server.requirements_hash | json }}
{%- endif %}
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - file: swh-deposit-configuration-directory

# The server's users may run it, and not change it.
swh-deposit-virtualenv:
  cmd.run:
    - name: {{ install(virtualenv, server.python, requirements) | json }}
    - unless:
      - {{ current(virtualenv, server.python, requirements) | json }}
    - umask: '022'
    - require:
      - pkg: swh-deposit-packages
      - file: swh-deposit-requirements
{%- endif %}

swh-deposit-media-root:
  file.directory:
    - name: {{ media_root | json }}
    - user: {{ server.user | json }}
    - group: {{ server.user | json }}
    - mode: '2750'
    - makedirs: True
    - require:
      - user: swh-deposit-users

{%- if database.is_here %}

swh-deposit-postgresql:
  service.running:
    - name: postgresql
    - enable: True
    - require:
      - pkg: swh-deposit-packages

{%- if opts.get('test') and not salt['cmd.which']('psql') %}

# A trial, before there is PostgreSQL.
swh-deposit-role:
  test.succeed_with_changes:
    - name: {{ database.user | json }}

swh-deposit-database:
  test.succeed_with_changes:
    - name: {{ database.name | json }}
{%- else %}

# Its password, if it has one, is not given to this state, which would show it in the arguments of psql.
swh-deposit-role:
  postgres_user.present:
    - name: {{ database.user | json }}
    - login: True
    - user: postgres
    - require:
      - service: swh-deposit-postgresql

swh-deposit-database:
  postgres_database.present:
    - name: {{ database.name | json }}
    - owner: {{ database.user | json }}
    - encoding: UTF8
    - template: template0
    - user: postgres
    - require:
      - postgres_user: swh-deposit-role
{%- endif %}

{%- if database.has_password %}

swh-deposit-role-password:
  deposit_database.password:
    - name: {{ database.user | json }}
    - require:
      - swh-deposit-role
{%- endif %}
{%- endif %}

swh-deposit-configuration:
  file.managed:
    - name: {{ configuration }}/server.yml
    - source: salt://swh/deposit/files/server.yml.jinja
    - template: jinja
    - user: root
    - group: {{ server.user | json }}
    - mode: '0640'
    - show_changes: False
    - require:
      - user: swh-deposit-users
      - file: swh-deposit-configuration-directory

# systemd reads it as root, and gives it to the services.
swh-deposit-environment:
  file.managed:
    - name: {{ configuration }}/environment
    - source: salt://swh/deposit/files/environment.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0600'
    - show_changes: False
    - require:
      - file: swh-deposit-configuration-directory

swh-deposit-units:
  file.managed:
    - names:
{%- for name in ('deposit.service', 'deposit-worker@.service') %}
      - {{ units }}/{{ name }}:
        - source: salt://swh/deposit/files/{{ name }}.jinja
{%- endfor %}
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'

swh-deposit-socket-unit:
  file.managed:
    - name: {{ units }}/deposit.socket
    - source: salt://swh/deposit/files/deposit.socket.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'

swh-deposit-units-loaded:
  cmd.run:
    - name: systemctl daemon-reload
    - onchanges:
      - file: swh-deposit-units
      - file: swh-deposit-socket-unit

# The schema is that of the new version before the new version is started. If that fails, the old one goes on.
swh-deposit-migrated:
  deposit.migrated:
    - name: deposit
    - require:
      - file: swh-deposit-configuration
      - file: swh-deposit-media-root
{%- if server.packages %}
      - pkg: swh-deposit-packages
{%- else %}
      - cmd: swh-deposit-virtualenv
{%- endif %}
{%- if database.is_here %}
      - swh-deposit-database
{%- if database.has_password %}
      - deposit_database: swh-deposit-role-password
{%- endif %}
{%- endif %}

# The service is stopped before its socket, which systemd refuses to restart otherwise.
swh-deposit-stopped-for-its-socket:
  cmd.run:
    - name: systemctl stop deposit.service
    - onchanges:
      - file: swh-deposit-socket-unit
    - require:
      - deposit: swh-deposit-migrated
      - cmd: swh-deposit-units-loaded

# Whoever connects while the service restarts waits at the socket.
swh-deposit-socket:
  service.running:
    - name: deposit.socket
    - enable: True
    - require:
      - cmd: swh-deposit-stopped-for-its-socket
    - watch:
      - file: swh-deposit-socket-unit

swh-deposit-service:
  service.running:
    - name: deposit.service
    - enable: True
    - require:
      - deposit: swh-deposit-migrated
      - service: swh-deposit-socket
    - watch:
      - file: swh-deposit-configuration
      - file: swh-deposit-environment
      - file: swh-deposit-units
{%- if server.packages %}
      - pkg: swh-deposit-packages
{%- else %}
      - cmd: swh-deposit-virtualenv
{%- endif %}

{%- for name in ('checker', 'loader') %}
{%- if name in workers %}

swh-deposit-{{ name }}-configuration:
  file.managed:
    - name: {{ configuration }}/{{ name }}.yml
    - source: salt://swh/deposit/files/worker.yml.jinja
    - template: jinja
    - context:
        name: {{ name }}
    - user: root
    - group: {{ server.worker_user | json }}
    - mode: '0640'
    - show_changes: False
    - require:
      - user: swh-deposit-users
      - file: swh-deposit-configuration-directory

swh-deposit-{{ name }}-environment:
  file.managed:
    - name: {{ configuration }}/{{ name }}.environment
    - source: salt://swh/deposit/files/worker.environment.jinja
    - template: jinja
    - context:
        name: {{ name }}
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - file: swh-deposit-configuration-directory

swh-deposit-{{ name }}:
{%- if halted %}
  service.dead:
    - name: deposit-worker@{{ name }}
    - enable: False
    - require:
      - service: swh-deposit-service
{%- else %}
  service.running:
    - name: deposit-worker@{{ name }}
    - enable: True
    - require:
      - service: swh-deposit-service
    - watch:
      - file: swh-deposit-{{ name }}-configuration
      - file: swh-deposit-{{ name }}-environment
      - file: swh-deposit-environment
      - file: swh-deposit-units
{%- if server.packages %}
      - pkg: swh-deposit-packages
{%- else %}
      - cmd: swh-deposit-virtualenv
{%- endif %}
{%- endif %}
{%- else %}

swh-deposit-{{ name }}:
  service.dead:
    - name: deposit-worker@{{ name }}
    - enable: False

swh-deposit-{{ name }}-removed:
  file.absent:
    - names:
      - {{ configuration }}/{{ name }}.yml
      - {{ configuration }}/{{ name }}.environment
    - require:
      - service: swh-deposit-{{ name }}
{%- endif %}
{%- endfor %}

{%- for name in functions.get('collections') or [] %}

swh-deposit-collection-{{ name }}:
  deposit.collection_present:
    - name: {{ name | json }}
    - require:
      - deposit: swh-deposit-migrated
{%- endfor %}

# Passwords are read from pillar by the state.
{%- for name, client in (functions.get('clients') or {}).items() %}

swh-deposit-client-{{ name }}:
  deposit.client_present:
    - name: {{ name | json }}
{%- for field, value in (client or {}).items() if not field.startswith('password') %}
    - {{ field }}: {{ value | json }}
{%- endfor %}
    - require:
      - deposit: swh-deposit-migrated
{%- for collection in functions.get('collections') or [] %}
      - deposit: swh-deposit-collection-{{ collection }}
{%- endfor %}
{%- endfor %}
{%- for name in functions.get('absent') or [] %}

swh-deposit-client-{{ name }}-absent:
  deposit.client_absent:
    - name: {{ name | json }}
    - require:
      - deposit: swh-deposit-migrated
{%- endfor %}

{%- if has_check %}

# The check for NRPE and Icinga: a script of root's, which needs no Salt.
swh-deposit-check-library:
  file.recurse:
    - name: {{ check_directory }}/lib/kingfisher_salt
    - source: salt://_utils/kingfisher_salt
    - include_pat: 'E@^([a-z_]+\.py|deposit/.*\.py)$'
    - clean: True
    - user: root
    - group: root
    - dir_mode: '0755'
    - file_mode: '0644'

swh-deposit-check-script:
  file.managed:
    - name: {{ check_directory }}/check_deposit
    - source: salt://swh/deposit/files/check_deposit.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0755'
    - makedirs: True
    - require:
      - file: swh-deposit-check-library

swh-deposit-check-settings:
  file.managed:
    - name: {{ configuration }}/check.json
    - source: salt://swh/deposit/files/check.json.jinja
    - template: jinja
    - user: root
    - group: {{ server.user | json }}
    - mode: '0640'
    - show_changes: False
    - require:
      - user: swh-deposit-users
      - file: swh-deposit-configuration-directory

# What the last check said, for anybody to read.
swh-deposit-check-state:
  file.directory:
    - name: {{ check_state }}
    - user: {{ server.user | json }}
    - group: {{ server.user | json }}
    - mode: '0755'
    - require:
      - user: swh-deposit-users

swh-deposit-check-schedule:
{%- if halted %}
  file.absent:
    - name: {{ cron_file }}
{%- else %}
  file.managed:
    - name: {{ cron_file }}
    - source: salt://swh/deposit/files/cron.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - file: swh-deposit-check-script
      - file: swh-deposit-check-settings
      - file: swh-deposit-check-state
      - service: swh-deposit-service
{%- endif %}
{%- else %}

swh-deposit-check-removed:
  file.absent:
    - names:
      - {{ cron_file }}
      - {{ check_directory }}
      - {{ check_state }}
      - {{ configuration }}/check.json
{%- endif %}
{%- endif %}
{%- endif %}
