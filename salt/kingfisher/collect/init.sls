# A Scrapyd host: user, directories, virtual environment, configuration, service, reports and retention. What differs is
# put in place only after the crawls that run are drained, and they are resumed after the restart.
{%- from "lib.jinja" import checked, owned, halted, current, install with context %}
{%- from "kingfisher/collect/map.jinja" import collect, has_scrapyd, stamp, in_use with context %}
{%- from "kingfisher/archive/map.jinja" import salt_call with context %}
{%- set requirements = collect.directory ~ '/requirements.txt' %}

{%- set owned_files = [requirements, collect.directory ~ '/scrapyd.conf', collect.environment_file, collect.cron_file] %}

include:
  # Also when they are no longer in pillar: they are removed then.
  - kingfisher.collect.incremental
{%- if 'kingfisher_operators' in pillar %}
  - kingfisher.collect.operator
{%- endif %}

{%- set problems = [] %}
{%- if has_scrapyd and collect.retention_days and 'kingfisher_archive' not in pillar %}
{%-   do problems.append('kingfisher_collect:retention_days deletes crawls that the archive has decided on, and '
                        'kingfisher_archive is not set: set it, or remove retention_days') %}
{%- endif %}
{{ checked('kingfisher.collect', optional=['kingfisher_collect', 'scrapyd', 'system_contacts'], problems=problems) }}

# Of a Scrapyd host that leaves pillar, what was collected stays, with the logs and the eggs.
{{ owned('kingfisher.collect', files=owned_files if has_scrapyd else [],
         units=[collect.unit_file] if has_scrapyd else []) }}

{%- if has_scrapyd %}

kingfisher-collect-packages:
  pkg.installed:
    - pkgs:
      - cron
      - python3-venv

{%- if collect.group != collect.user %}

kingfisher-collect-group:
  group.present:
    - name: {{ collect.group | json }}
{%- endif %}

# With a group of its own name.
kingfisher-collect-user:
  user.present:
    - name: {{ collect.user | json }}
    - shell: /bin/bash
    - usergroup: True
{%- if collect.group != collect.user %}
    - groups:
      - {{ collect.group | json }}
    - remove_groups: False
    - require:
      - group: kingfisher-collect-group
{%- endif %}

kingfisher-collect-directories:
  file.directory:
    - names:
{%- for name in ('', '/dbs', '/eggs', '/jobs', '/logs') %}
      - {{ (collect.directory ~ name) | json }}
{%- endfor %}
    - user: {{ collect.user | json }}
    - group: {{ collect.user | json }}
    - mode: '0755'
    - makedirs: True
    - require:
      - user: kingfisher-collect-user

# Others in the group, such as Kingfisher Process, read and delete what is collected.
kingfisher-collect-files-store:
  file.directory:
    - name: {{ collect.files_store | json }}
    - user: {{ collect.user | json }}
    - group: {{ collect.group | json }}
    - mode: '2775'
    - makedirs: True
    - require:
      - file: kingfisher-collect-directories

kingfisher-collect-requirements:
  file.managed:
    - name: {{ requirements | json }}
    - source: {{ collect.requirements | json }}
{%- if collect.requirements_hash %}
    - source_hash: {{ collect.requirements_hash | json }}
{%- endif %}
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - file: kingfisher-collect-directories

kingfisher-collect-configuration:
  file.managed:
    - name: {{ (collect.directory ~ '/scrapyd.conf') | json }}
    - source: salt://kingfisher/collect/files/scrapyd.conf.jinja
    - template: jinja
    - user: {{ collect.user | json }}
    - group: {{ collect.user | json }}
    - mode: '0600'
    - show_changes: False
    - require:
      - file: kingfisher-collect-directories

# systemd reads it as root, and gives it to the service.
kingfisher-collect-environment:
  file.managed:
    - name: {{ collect.environment_file | json }}
    - source: salt://kingfisher/collect/files/environment.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0600'
    - show_changes: False

kingfisher-collect-unit:
  file.managed:
    - name: {{ collect.unit_file | json }}
    - source: salt://kingfisher/collect/files/scrapyd.service.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'

# Says, before anything is stopped, whether the virtual environment will be made anew.
kingfisher-collect-virtualenv-is-out-of-date:
  test.succeed_with_changes:
    - unless:
      - {{ current(collect.virtualenv, collect.python, requirements) | json }}
    - require:
      - file: kingfisher-collect-requirements

# Whatever a run before this one has changed, and could not restart Scrapyd for, is not forgotten.
kingfisher-collect-files-are-not-in-use:
  test.succeed_with_changes:
    - unless:
      - {{ (in_use ~ ' | cmp -s - ' ~ stamp) | json }}
    - require:
      - file: kingfisher-collect-configuration
      - file: kingfisher-collect-environment
      - file: kingfisher-collect-unit

# None of the files above is read before the restart. If the crawls cannot be drained, nothing is restarted.
kingfisher-collect-drained:
  scrapyd.drained:
    - timeout: {{ collect.drain_timeout }}
    - onlyif:
      - systemctl is-active --quiet scrapyd
    - onchanges:
      - file: kingfisher-collect-requirements
      - file: kingfisher-collect-configuration
      - file: kingfisher-collect-environment
      - file: kingfisher-collect-unit
      - test: kingfisher-collect-files-are-not-in-use
      - test: kingfisher-collect-virtualenv-is-out-of-date

kingfisher-collect-virtualenv:
  cmd.run:
    - name: {{ install(collect.virtualenv, collect.python, requirements) | json }}
    - runas: {{ ('root' if opts.get('test') else collect.user) | json }}
    - unless:
      - {{ current(collect.virtualenv, collect.python, requirements) | json }}
    - require:
      - pkg: kingfisher-collect-packages
      - file: kingfisher-collect-requirements
      - scrapyd: kingfisher-collect-drained

kingfisher-collect-units-loaded:
  cmd.run:
    - name: systemctl daemon-reload
    - onchanges:
      - file: kingfisher-collect-unit

kingfisher-collect-service:
  service.running:
    - name: scrapyd
    - enable: True
    - require:
      - scrapyd: kingfisher-collect-drained
      - cmd: kingfisher-collect-units-loaded
      - file: kingfisher-collect-files-store
    - watch:
      - file: kingfisher-collect-configuration
      - file: kingfisher-collect-environment
      - file: kingfisher-collect-unit
      - test: kingfisher-collect-files-are-not-in-use
      - cmd: kingfisher-collect-virtualenv

# Whether or not this run drained it: another that did may have been interrupted.
kingfisher-collect-resumed:
  scrapyd.resumed:
    - require:
      - service: kingfisher-collect-service

{%- if (collect.reports or collect.retention_days) and not salt_call %}

kingfisher-collect-schedule-needs-a-minion:
  test.fail_without_changes:
    - name: >-
        kingfisher_collect:reports and kingfisher_collect:retention_days need salt-call on this server: install
        salt-minion, or set reports to False and retention_days to nothing
{%- endif %}
{%- endif %}

kingfisher-collect-cron:
{%- if has_scrapyd and (collect.reports or collect.retention_days) and salt_call and not halted %}
  file.managed:
    - name: {{ collect.cron_file | json }}
    - source: salt://kingfisher/collect/files/cron.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - pkg: kingfisher-collect-packages
{%- else %}
  file.absent:
    - name: {{ collect.cron_file | json }}
{%- endif %}
