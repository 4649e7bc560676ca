# Docker, its compose plugin, and the user that applications are run as and files are written as.
{%- from "lib.jinja" import checked with context %}
{%- set docker = pillar.get('docker') or {} %}

{%- if docker %}
{#- Debian 12 has no compose plugin, only the old docker-compose: docker:packages has to name another. -#}
{%- set packages = docker.get('packages') or ['docker.io', 'docker-cli', 'docker-compose'] %}

{%- set problems = [] %}
{%- for key in ('user', 'uid') if not docker.get(key) %}
{%-   do problems.append('docker:' ~ key ~ ' is not set') %}
{%- endfor %}
{{ checked('docker', problems=problems) }}

# A container writes files by number. If the numbers differ, nothing at all is changed.
docker-checked:
  docker_apps.checked:
    - order: 1
    - failhard: True

docker-packages:
  pkg.installed:
    - pkgs: {{ packages | json }}

{%- if docker.get('user') and docker.get('uid') %}
{%- if not salt['user.info'](docker.user) %}

docker-user-group:
  group.present:
    - name: {{ docker.user | json }}
    - gid: {{ docker.uid }}
{%- endif %}

docker-user:
  user.present:
    - name: {{ docker.user | json }}
    - uid: {{ docker.uid }}
{%- if not salt['user.info'](docker.user) %}
    - gid: {{ docker.uid }}
{%- endif %}
    - shell: /bin/bash
    - groups:
      - docker
    - remove_groups: False
    - require:
      - pkg: docker-packages
{%- endif %}

# Containers' logs have a limit, unless docker:daemon says otherwise.
docker-daemon-configuration:
  file.serialize:
    - name: /etc/docker/daemon.json
    - dataset: {{ dict({'log-driver': 'local'}, **(docker.get('daemon') or {})) | json }}
    - serializer: json
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: True
    - require:
      - pkg: docker-packages

docker-service:
  service.running:
    - name: docker
    - enable: True
    - require:
      - pkg: docker-packages
    - watch:
      - file: docker-daemon-configuration
{%- else %}

docker-is-not-in-pillar:
  test.nop
{%- endif %}
