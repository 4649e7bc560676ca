# Incremental crawls: user, checkout, virtual environment, and one state for the whole list in pillar.
{%- from "lib.jinja" import checked, owned, checkout, current, install with context %}
{%- from "kingfisher/collect/map.jinja" import incremental with context %}
{%- set requirements = incremental.checkout ~ '/requirements.txt' %}

{{ checked('kingfisher.collect.incremental', optional=['python_apps:kingfisher_collect']) }}

# Without their section in pillar, the crawls are removed, and their data stays.
{{ owned('kingfisher.collect.incremental', files=[incremental.cron_file] if incremental.user else [],
         crawls=[incremental.program_directory] if incremental.user else []) }}

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

{{ checkout('kingfisher-incremental-checkout', incremental.git_url, incremental.checkout, incremental.git_branch,
            incremental.user, ['kingfisher-incremental-packages', 'kingfisher-incremental-user']) }}

kingfisher-incremental-virtualenv:
  cmd.run:
    - name: {{ install(incremental.virtualenv, '/usr/bin/python3', requirements) | json }}
    - runas: {{ ('root' if opts.get('test') else incremental.user) | json }}
    - unless:
      - {{ current(incremental.virtualenv, '/usr/bin/python3', requirements) | json }}
    - require:
      - kingfisher-incremental-checkout
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
