# Incremental crawls: user, checkout, virtual environment, and one state for the whole list in pillar.
{%- from "kingfisher/collect/map.jinja" import incremental, current, install with context %}
{%- set requirements = incremental.checkout ~ '/requirements.txt' %}
{%- if incremental.user %}

kingfisher-incremental-packages:
  pkg.installed:
    - pkgs:
      - cron
      - git
      - python3-venv

kingfisher-incremental-user:
  user.present:
    - name: {{ incremental.user | json }}
    - home: {{ incremental.home | json }}
    - shell: /bin/bash
    - usergroup: True
    - remove_groups: False

# Without git:url, the checkout and its virtual environment are made elsewhere.
{%- if incremental.git_url %}

kingfisher-incremental-checkout:
  git.latest:
    - name: {{ incremental.git_url | json }}
    - target: {{ incremental.checkout | json }}
    - rev: {{ incremental.git_branch | json }}
    - branch: {{ incremental.git_branch | json }}
    - user: {{ incremental.user | json }}
    - force_fetch: True
    - force_reset: True
    - require:
      - pkg: kingfisher-incremental-packages
      - user: kingfisher-incremental-user

kingfisher-incremental-virtualenv:
  cmd.run:
    - name: {{ install(incremental.virtualenv, '/usr/bin/python3', requirements) | json }}
    - runas: {{ incremental.user | json }}
    - unless:
      - {{ current(incremental.virtualenv, '/usr/bin/python3', requirements) | json }}
    - require:
      - git: kingfisher-incremental-checkout
{%- endif %}

kingfisher-incremental-crawls:
  kingfisher_incremental.crawls:
    - require:
      - user: kingfisher-incremental-user
{%- if incremental.git_url %}
      - cmd: kingfisher-incremental-virtualenv
{%- endif %}
{%- else %}

kingfisher-incremental-is-not-in-pillar:
  test.nop:
    - name: There is no python_apps:kingfisher_collect:user in this server's pillar
{%- endif %}
