# Applications under Docker Compose: directory, compose file, variables, containers and cron jobs. What leaves pillar is
# taken down. While maintenance:halted is set, workers and cron jobs stop.
{%- from "lib.jinja" import checked, halted with context %}
{%- set apps = pillar.get('docker_apps') or {} %}
{%- set docker = pillar.get('docker') or {} %}
{%- set user = docker.get('user') %}
{%- set cron_file = '/etc/cron.d/kingfisher-docker-apps' %}
{%- set with_cron = [] %}

{%- if apps %}

include:
  - docker
{%- endif %}

{{ checked('docker_apps', required=['docker'] if apps else [], optional=['docker_apps', 'system_contacts']) }}

{%- if not apps or (user and docker.get('uid')) %}

# What is put in place is marked as ours before, so that it is found again.
docker-apps-pruned:
  docker_apps.pruned:
    - order: 2

{%- for name, entry in apps | dictsort %}
{%- set entry = entry or {} %}
{%- set id = 'docker-app-' ~ (name | replace('_', '-')) %}
{%- set directory = entry.get('directory') or '/data/deploy/' ~ (entry.get('target') or name) %}
{#- For templates. The variables may be secret, and are not among it. -#}
{%- set settings = {} %}
{%- for key, value in entry.items() if key != 'env' %}
{%-   do settings.update({key: value}) %}
{%- endfor %}
{%- set sites = (pillar.get('apache') or pillar.get('nginx') or {}).get('sites') or {} %}
{%- if entry.get('cron') %}
{%-   do with_cron.append(name) %}
{%- endif %}

{{ id }}-directory:
  file.directory:
    - name: {{ directory | json }}
    - user: {{ user | json }}
    - group: {{ user | json }}
    - mode: '0755'
    - makedirs: True
    - require:
      - user: docker-user
      - docker_apps: docker-apps-pruned

{{ id }}-compose-file:
  file.managed:
    - name: {{ (directory ~ '/docker-compose.yaml') | json }}
    - source: {{ (entry.get('source') or 'salt://docker_apps/files/' ~ (entry.get('configuration') or name) ~ '.yaml') | json }}
    - template: jinja
    - context:
        app: {{ name | json }}
        directory: {{ directory | json }}
        entry: {{ settings | json }}
        site: {{ ((sites.get(entry.get('site')) or {}).get('context') or {}) | json }}
    - user: {{ user | json }}
    - group: {{ user | json }}
    - mode: '0644'
    - require:
      - file: {{ id }}-directory

{{ id }}-variables:
  file.managed:
    - name: {{ (directory ~ '/.env') | json }}
    - source: salt://docker_apps/files/env.jinja
    - template: jinja
    - context:
        app: {{ name | json }}
    - user: {{ user | json }}
    - group: {{ user | json }}
    - mode: '0400'
    - show_changes: False
    - require:
      - file: {{ id }}-directory

{%- set volumes = [] %}
{%- if entry.get('host_dir') %}
{%-   do volumes.append(entry.host_dir) %}
{%- endif %}
{%- for volume in entry.get('volumes') or [] %}
{%-   do volumes.append((entry.get('host_dir') or directory) ~ '/' ~ volume) %}
{%- endfor %}
{%- if volumes %}

{{ id }}-volumes:
  file.directory:
    - names: {{ volumes | json }}
    - user: {{ user | json }}
    - group: {{ user | json }}
    - makedirs: True
    - require:
      - user: docker-user
    - require_in:
      - docker_apps: {{ id }}
{%- endif %}

{{ id }}:
  docker_apps.running:
    - name: {{ name | json }}
    - require:
      - service: docker-service
    - watch:
      - file: {{ id }}-compose-file
      - file: {{ id }}-variables
{%- endfor %}
{%- endif %}

{%- if with_cron and user and not halted %}

docker-apps-cron-package:
  pkg.installed:
    - name: cron

docker-apps-cron:
  file.managed:
    - name: {{ cron_file }}
    - source: salt://docker_apps/files/cron.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - pkg: docker-apps-cron-package
{%- for name in with_cron %}
      - docker_apps: docker-app-{{ name | replace('_', '-') }}
{%- endfor %}
{%- else %}

docker-apps-cron:
  file.absent:
    - name: {{ cron_file }}
{%- endif %}
