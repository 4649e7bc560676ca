# What every server has: users, ssh keys, sudo rules, whom mail goes to, and the time.
{%- from "lib.jinja" import checked, owned with context %}
{%- from "core/map.jinja" import users, keys, memberships, contacts, time, clients, sudoers, owned_files with context %}

{{ checked('core', optional=['users', 'ssh', 'system_contacts', 'time', 'minion']) }}

{{ owned('core', files=owned_files, users=users | list, keys=keys | list, memberships=memberships,
    aliases=['root'] if contacts.get('root') else []) }}

{%- if users or time %}

core-packages:
  pkg.installed:
    - pkgs:
      - sudo
      - tzdata
{%- endif %}

# Those who have left pillar may no longer log in: see core-owned. They come back as they were.
{%- for name, user in users.items() %}

core-user-{{ name }}:
  user.present:
    - name: {{ name | json }}
    - fullname: {{ user.fullname | json }}
    - shell: {{ user.shell | json }}
{%- if user.uid %}
    - uid: {{ user.uid }}
{%- endif %}
    - usergroup: True
{%- if user.groups %}
    - groups: {{ user.groups | json }}
{%- endif %}
    # Groups that others gave stay. Those of pillar that have left it are taken away by core-owned.
    - remove_groups: False
    - require:
      - kingfisher_owned: core-owned

core-user-{{ name }}-opened:
  kingfisher_login.opened:
    - name: {{ name | json }}
    - require:
      - user: core-user-{{ name }}

{%- if user.sudo %}

core-sudo-{{ name }}:
  file.managed:
    - name: {{ (sudoers ~ name) | json }}
    - source: salt://core/files/sudoers.jinja
    - template: jinja
    - context:
        name: {{ name | json }}
        rules: {{ user.sudo | json }}
    - user: root
    - group: root
    - mode: '0440'
    - check_cmd: /usr/sbin/visudo --check --file
    - require:
      - pkg: core-packages
      - user: core-user-{{ name }}
{%- endif %}
{%- endfor %}

{%- for name in keys %}

core-keys-{{ name }}:
  kingfisher_login.keys:
    - name: {{ name | json }}
    - keys: {{ keys[name] | json }}
{%- if name in users %}
    - require:
      - user: core-user-{{ name }}
{%- elif name != 'root' %}
    # Another state makes this user.
    - order: last
{%- endif %}
{%- endfor %}

{%- if contacts.get('root') %}

core-mail-to-root:
  alias.present:
    - name: root
    - target: {{ contacts.root | json }}
    - require:
      - kingfisher_owned: core-owned
{%- endif %}

{%- if time and time.client in clients %}
{%- set client = clients[time.client] %}

# Not by timedatectl, which may warp the clock of a container's host.
core-timezone:
  file.symlink:
    - name: /etc/localtime
    - target: {{ ('/usr/share/zoneinfo/' ~ time.timezone) | json }}
    - force: True
    - require:
      - pkg: core-packages

core-timezone-name:
  file.managed:
    - name: /etc/timezone
    - contents: {{ time.timezone | json }}

# Debian removes the other client.
core-time-client:
  pkg.installed:
    - name: {{ client.package }}

{%- if time.servers %}

core-time-servers:
  file.managed:
    - name: {{ client.file }}
    - source: salt://core/files/{{ time.client }}.jinja
    - template: jinja
    - context:
        servers: {{ time.servers | json }}
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: True
    - require:
      - pkg: core-time-client
      - kingfisher_owned: core-owned
{%- endif %}

# A container has the time of its host.
core-time-service:
  service.running:
    - name: {{ client.service }}
    - enable: True
    - onlyif: '! systemd-detect-virt --quiet --container'
    - require:
      - pkg: core-time-client
{%- if time.servers %}
    - watch:
      - file: core-time-servers
{%- endif %}
{%- endif %}
