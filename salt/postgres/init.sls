# PostgreSQL: packages, cluster, configuration, access, roles, databases and backup. What left pillar leaves the server,
# but for roles and databases, which may hold data. Without postgres, PostgreSQL goes on as its package configures it.
{%- from "lib.jinja" import checked with context %}
{%- from "postgres/map.jinja" import given, version, data_directory, etc, unit, replication, passfile, repository_file,
    cluster_defaults, required with context %}

include:
  - postgres.backup

{%- if pillar.get('postgres') is none %}

postgres-is-not-in-pillar:
  test.nop:
    - name: There is no postgres in this server's pillar. A PostgreSQL that is here stays, with its data and roles

postgres-removed:
  file.absent:
    - names:
      - {{ repository_file }}
      - {{ cluster_defaults }}
      - {{ passfile }}

{%- for file in salt['file.find']('/etc/postgresql/*/main/conf.d/90-kingfisher.conf') %}
{%- set version = file.split('/')[3] %}

postgres-configuration-removed-{{ version }}:
  file.absent:
    - name: {{ file }}

# Else it would go on sending what it writes to a repository that it no longer knows, and keep it all.
postgres-reloaded-{{ version }}:
  postgres_server.reloaded:
    - unit: postgresql@{{ version }}-main
    - onlyif: systemctl is-active --quiet postgresql@{{ version }}-main
    - watch:
      - file: postgres-configuration-removed-{{ version }}
{%- endfor %}
{%- else %}

{%- set problems = [] %}
{%- if replication and (given.get('backup') or {}).get('type') == 'pgbackrest' %}
{%-   do problems.append('postgres:backup:type is pgbackrest, which backs up from the primary alone: set it there, or use '
                        'script here') %}
{%- endif %}
{%- set configuration_file = etc ~ '/conf.d/90-kingfisher.conf' %}
{%- set access_file = etc ~ '/pg_hba.conf' %}
{{ checked('postgres', required=['postgres'] + required, optional=['postgres:replication', 'system_contacts'],
    problems=problems) }}

{%- if not version %}

postgres-version-is-unknown:
  test.fail_without_changes:
    - name: 'postgres:version is not set, and the version of {{ grains['oscodename'] }} is not known: set it'
    - order: 1
    - failhard: True
{%- endif %}

postgres-repository:
{%- if given.get('repository') %}
  pkgrepo.managed:
    - name: {{ given.repository.get('name', '') | json }}
    - file: {{ repository_file }}
{%- if given.repository.get('key_url') %}
    - key_url: {{ given.repository.key_url | json }}
    - aptkey: False
{%- endif %}
{%- else %}
  file.absent:
    - name: {{ repository_file }}
{%- endif %}

# The package makes no cluster. What does says why, if it cannot.
postgres-cluster-defaults:
  file.managed:
    - name: {{ cluster_defaults }}
    - contents:
      - '# Managed by Salt: postgres.'
      - create_main_cluster = false
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: True

postgres-package:
  pkg.installed:
    - name: postgresql-{{ version }}
    - require:
      - file: postgres-cluster-defaults
{%- if given.get('repository') %}
      - pkgrepo: postgres-repository
{%- else %}
      - file: postgres-repository
{%- endif %}

{%- if replication %}

# For libpq, which asks nobody for a password.
postgres-replication-password:
  file.managed:
    - name: {{ passfile }}
    - source: salt://postgres/files/passfile.jinja
    - template: jinja
    - user: postgres
    - group: postgres
    - mode: '0600'
    - show_changes: False
    - require:
      - pkg: postgres-package

# A copy of the primary, if there is no cluster here yet. One that is no replica is never overwritten.
postgres-replica:
  postgres_server.replica:
    - name: {{ data_directory | json }}
    - version: {{ version or 0 }}
    - passfile: {{ passfile }}
    - require:
      - file: postgres-replication-password
    - require_in:
      - file: postgres-configuration
{%- else %}

postgres-replication-password:
  file.absent:
    - name: {{ passfile }}

postgres-no-replica:
  postgres_server.no_replica:
    - name: {{ data_directory | json }}
    - require:
      - pkg: postgres-package

postgres-cluster:
  cmd.run:
    - name: >-
        pg_createcluster {{ version }} main --datadir={{ data_directory | quote }} --encoding=UTF8 --locale=C.UTF-8
        -- --data-checksums
    - creates: {{ etc }}/postgresql.conf
    - require:
      - postgres_server: postgres-no-replica
    - require_in:
      - file: postgres-configuration
{%- endif %}

# Whole files: what left pillar is gone. Others' are in files of their own.
postgres-configuration:
  file.managed:
    - names:
      - {{ configuration_file }}:
        - source: salt://postgres/files/postgresql.conf.jinja
      - {{ access_file }}:
        - source: salt://postgres/files/pg_hba.conf.jinja
    - template: jinja
    - user: postgres
    - group: postgres
    - mode: '0640'
    - require:
      - pkg: postgres-package

postgres-service:
  service.running:
    - name: {{ unit }}
    - enable: True
    - require:
      - file: postgres-configuration

# Reloads, and restarts only for what PostgreSQL reads at its start alone. What was refused fails until it is
# corrected, and what an apply that was killed had written is read by the next.
postgres-reloaded:
  postgres_server.reloaded:
    - unit: {{ unit }}
    - files:
      - {{ configuration_file }}
      - {{ access_file }}
    - watch:
      - file: postgres-configuration
    - require:
      - service: postgres-service

{%- if not replication %}

# Passwords are read from pillar by the state, and PostgreSQL is told verifiers alone.
postgres-roles-and-databases:
  postgres_server.configured:
    - require:
      - service: postgres-service
      - postgres_server: postgres-reloaded
{%- endif %}
{%- endif %}
