# What any minion needs for the modules in _modules/: their Python dependencies, in the minion's own Python.
# Salt syncs the modules themselves before it applies a state. reload_modules lets the states that follow use them.
{%- from "minion/map.jinja" import python, executable, installer, is_ssh, has_sentry with context %}

{%- if python == 'packages' %}

minion-python-packages:
  pkg.installed:
    - pkgs:
      - python3-lz4
      - python3-pika
      - python3-psycopg2
      - python3-xxhash
{%- if not is_ssh %}
      - python3-boto3
      - python3-requests
{%- endif %}
    - reload_modules: True

{%- elif python in ('onedir', 'venv') %}
{%- set names = ['requirements'] %}
{%- if has_sentry and (pillar.get('kingfisher_archive') or {}).get('sentry_dsn') %}
{%-   do names.append('sentry') %}
{%- endif %}
{%- for name in names %}
{%- set file = salt['cp.cache_file']('salt://minion/files/' ~ name ~ '.txt') %}

minion-python-{{ name }}:
  cmd.run:
    - name: {{ (installer ~ ' install --disable-pip-version-check --prefer-binary -r ' ~ (file | quote)) | json }}
    # Each line is NAME==VERSION. Anything else that is installed, or missing, ends this with an error.
    - unless:
      - >-
        {{ executable | quote }} -c 'import sys; from importlib.metadata import version;
        lines = [line.strip().split("==") for line in open(sys.argv[1]) if "==" in line];
        sys.exit(any(version(name) != wanted for name, wanted in lines))' {{ file | quote }} 2>/dev/null
    - reload_modules: True
{%- endfor %}

{%- else %}

minion-python-is-unknown:
  test.fail_without_changes:
    - name: minion:python must be one of onedir, venv, packages, not {{ python }}
{%- endif %}
