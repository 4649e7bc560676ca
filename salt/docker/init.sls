# Docker, its compose plugin, and the user that applications are run as and files are written as. Without docker in
# pillar, Docker goes on, and heeds that its configuration is gone when it starts again.
{%- from "lib.jinja" import checked, owned with context %}
{%- set docker = pillar.get('docker') or {} %}
{%- set daemon_file = '/etc/docker/daemon.json' %}

{{ owned('docker', files=[daemon_file] if docker else [],
    memberships=[docker.user ~ ':docker'] if docker.get('user') else []) }}

{%- if docker %}
{#- Debian 12 has no compose plugin, only the old docker-compose: docker:packages has to name another. -#}
{%- set packages = docker.get('packages') or ['docker.io', 'docker-cli', 'docker-compose'] %}

# A container writes files by number. If the user's is not that of pillar, nothing at all is changed.
{{ checked('docker', required=['docker'], optional=['docker_apps']) }}

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
      - kingfisher_owned: docker-owned
{%- endif %}

# Containers' logs have a limit, unless docker:daemon says otherwise.
docker-daemon-configuration:
  file.serialize:
    - name: {{ daemon_file }}
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
