# Backups of PostgreSQL: dumps to a bucket by a script, or pgBackRest. Without postgres:backup, all of it is removed, but
# for what is in the bucket.
{%- from "lib.jinja" import halted, current, install with context %}
{%- from "postgres/map.jinja" import given, backup, backup_type, backup_directory, backup_virtualenv, backup_settings,
    cron_file, pgbackrest_file with context %}
{%- set requirements = backup_directory ~ '/requirements.txt' %}
{%- set stanza = backup.get('stanza', '') %}

{%- if backup_type == 'script' %}

postgres-backup-packages:
  pkg.installed:
    - pkgs:
      - cron
      - python3-venv

postgres-backup-requirements:
  file.managed:
    - name: {{ requirements }}
    - source: salt://postgres/files/requirements.txt
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: True

# Its own, so that a backup needs no Salt.
postgres-backup-virtualenv:
  cmd.run:
    - name: {{ install(backup_virtualenv, '/usr/bin/python3', requirements) | json }}
    - unless:
      - {{ current(backup_virtualenv, '/usr/bin/python3', requirements) | json }}
    - umask: '022'
    - require:
      - pkg: postgres-backup-packages
      - file: postgres-backup-requirements

postgres-backup-library:
  file.recurse:
    - name: {{ backup_directory }}/lib/kingfisher_salt
    - source: salt://_utils/kingfisher_salt
    - include_pat: 'E@^([a-z_]+\.py|archive/.*\.py|postgres/.*\.py)$'
    - clean: True
    - user: root
    - group: root
    - dir_mode: '0755'
    - file_mode: '0644'

postgres-backup-script:
  file.managed:
    - name: {{ backup_directory }}/backup
    - source: salt://postgres/files/backup.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0700'
    - require:
      - file: postgres-backup-library
      - cmd: postgres-backup-virtualenv

postgres-backup-settings:
  file.managed:
    - name: {{ backup_settings }}
    - source: salt://postgres/files/backup.json.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0600'
    - show_changes: False
{%- else %}

postgres-backup-script-removed:
  file.absent:
    - names:
      - {{ backup_directory }}
      - {{ backup_settings }}
{%- endif %}

{%- if backup_type == 'pgbackrest' %}

postgres-backup-pgbackrest:
  pkg.installed:
    - pkgs:
      - cron
      - pgbackrest
    - require:
      - pkg: postgres-package

postgres-backup-pgbackrest-configuration:
  file.managed:
    - name: {{ pgbackrest_file }}
    - source: salt://postgres/files/pgbackrest.conf.jinja
    - template: jinja
    - user: postgres
    - group: postgres
    - mode: '0600'
    - makedirs: True
    - show_changes: False
    - require:
      - pkg: postgres-backup-pgbackrest
    - require_in:
      - file: postgres-configuration
{%- if backup.get('repo_type') == 'posix' %}

postgres-backup-repository:
  file.directory:
    - name: {{ backup.get('repo_path') | json }}
    - user: postgres
    - group: postgres
    - mode: '0750'
    - makedirs: True
    - require:
      - pkg: postgres-backup-pgbackrest
    - require_in:
      - file: postgres-configuration
{%- endif %}

# It is there before the first segment is sent, or soon after.
postgres-backup-stanza:
  cmd.run:
    - name: {{ ('pgbackrest --stanza=' ~ (stanza | quote) ~ ' stanza-create') | json }}
    - runas: {{ 'root' if opts.get('test') else 'postgres' }}
    - unless:
      - {{ ('pgbackrest --stanza=' ~ (stanza | quote) ~ ' info | grep -q "status: \\(ok\\|error (no valid backups)\\)"') | json }}
    - require:
      - file: postgres-backup-pgbackrest-configuration
      - postgres_server: postgres-reloaded
{%- else %}

postgres-backup-pgbackrest-removed:
  file.absent:
    - name: {{ pgbackrest_file }}
    # Another's stays.
    - onlyif: {{ ("grep -qs '^# Managed by Salt' " ~ pgbackrest_file) | json }}
{%- endif %}

# Nothing is printed, and so no mail is sent, unless a run fails.
postgres-backup-schedule:
{%- if backup_type and not halted %}
  file.managed:
    - name: {{ cron_file }}
    - source: salt://postgres/files/cron.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - require:
{%- if backup_type == 'script' %}
      - file: postgres-backup-script
      - file: postgres-backup-settings
{%- else %}
      - file: postgres-backup-pgbackrest-configuration
{%- endif %}
{%- else %}
  file.absent:
    - name: {{ cron_file }}
{%- endif %}
