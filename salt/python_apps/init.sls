# Applications in Python on the host itself: user, checkout, virtual environment, environment, services, timers, cron jobs.
# Of one that leaves pillar, the user's home stays, with the checkout and what it has written.
{%- from "lib.jinja" import checked, owned, halted, checkout, current, install with context %}
{%- from "python_apps/map.jinja" import apps, directory, owned_files, owned_units with context %}

{{ checked('python_apps', optional=['python_apps', 'system_contacts']) }}

{{ owned('python_apps', files=owned_files, units=owned_units) }}

{%- if apps %}

python-apps-packages:
  pkg.installed:
    - pkgs:
      - cron
      - git
      - python3-venv

python-apps-directory:
  file.directory:
    - name: {{ directory }}
    - user: root
    - group: root
    - mode: '0755'
{%- endif %}

{%- for name, app in apps.items() if app.user and app.git_url %}

python-app-{{ name }}-user:
  user.present:
    - name: {{ app.user | json }}
    - home: {{ app.home | json }}
    - shell: /bin/bash
    - usergroup: True
    - remove_groups: False

{{ checkout('python-app-' ~ name ~ '-checkout', app.git_url, app.checkout, app.git_branch, app.user,
            ['python-apps-packages', 'python-app-' ~ name ~ '-user']) }}

python-app-{{ name }}-virtualenv:
  cmd.run:
    - name: {{ install(app.virtualenv, app.python, app.requirements) | json }}
    - runas: {{ ('root' if opts.get('test') else app.user) | json }}
    - unless:
      - {{ current(app.virtualenv, app.python, app.requirements) | json }}
    - require:
      - python-app-{{ name }}-checkout

# Its user reads it in cron jobs, and systemd as root.
python-app-{{ name }}-environment:
  file.managed:
    - name: {{ app.environment_file | json }}
    - source: salt://python_apps/files/environment.jinja
    - template: jinja
    - context:
        name: {{ name }}
    - user: {{ app.user | json }}
    - group: root
    - mode: '0600'
    - show_changes: False
    - require:
      - user: python-app-{{ name }}-user
      - file: python-apps-directory

{%- if app.config %}

python-app-{{ name }}-config:
  file.managed:
    - names:
{%- for path, source in app.config.items() %}
      - {{ (app.home ~ '/' ~ path) | json }}:
        - source: {{ source | json }}
{%- endfor %}
    - template: jinja
    - user: {{ app.user | json }}
    - group: {{ app.user | json }}
    - mode: '0600'
    - makedirs: True
    - show_changes: False
    - require:
      - python-app-{{ name }}-checkout
{%- endif %}

{%- if app.services or app.timers %}

python-app-{{ name }}-units:
  file.managed:
    - names:
{%- for service, given in app.services.items() %}
      - /etc/systemd/system/{{ app.unit }}-{{ service }}.service:
        - context:
            app: {{ app | json }}
            command: {{ given.command | json }}
            kind: simple
{%- endfor %}
{%- for timer, given in app.timers.items() %}
      - /etc/systemd/system/{{ app.unit }}-{{ timer }}.service:
        - context:
            app: {{ app | json }}
            command: {{ given.command | json }}
            kind: oneshot
{%- endfor %}
    - source: salt://python_apps/files/service.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'

{%- if app.timers %}

python-app-{{ name }}-timer-units:
  file.managed:
    - names:
{%- for timer, given in app.timers.items() %}
      - /etc/systemd/system/{{ app.unit }}-{{ timer }}.timer:
        - context:
            calendar: {{ given.calendar | json }}
{%- endfor %}
    - source: salt://python_apps/files/timer.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
{%- endif %}

python-app-{{ name }}-units-loaded:
  cmd.run:
    - name: systemctl daemon-reload
    - onchanges:
      - file: python-app-{{ name }}-units
{%- if app.timers %}
      - file: python-app-{{ name }}-timer-units
{%- endif %}
{%- endif %}

{%- for service in app.services %}

python-app-{{ name }}-service-{{ service }}:
{%- if halted %}
  service.dead:
    - name: {{ app.unit }}-{{ service }}
    - enable: False
    - require:
      - cmd: python-app-{{ name }}-units-loaded
{%- else %}
  service.running:
    - name: {{ app.unit }}-{{ service }}
    - enable: True
    - require:
      - cmd: python-app-{{ name }}-units-loaded
    - watch:
      - python-app-{{ name }}-checkout
      - cmd: python-app-{{ name }}-virtualenv
      - file: python-app-{{ name }}-environment
      - file: python-app-{{ name }}-units
{%- if app.config %}
      - file: python-app-{{ name }}-config
{%- endif %}
{%- endif %}
{%- endfor %}

{%- for timer in app.timers %}

python-app-{{ name }}-timer-{{ timer }}:
{%- if halted %}
  service.dead:
    - names:
      - {{ app.unit }}-{{ timer }}.timer
    - enable: False
    - require:
      - cmd: python-app-{{ name }}-units-loaded
{%- else %}
  service.running:
    - name: {{ app.unit }}-{{ timer }}.timer
    - enable: True
    - require:
      - cmd: python-app-{{ name }}-units-loaded
      - cmd: python-app-{{ name }}-virtualenv
      - file: python-app-{{ name }}-environment
    - watch:
      - file: python-app-{{ name }}-timer-units
{%- endif %}
{%- endfor %}

{%- if app.cron %}

python-app-{{ name }}-cron:
{%- if halted %}
  file.absent:
    - name: {{ app.cron_file | json }}
{%- else %}
  file.managed:
    - name: {{ app.cron_file | json }}
    - source: salt://python_apps/files/cron.jinja
    - template: jinja
    - context:
        app: {{ app | json }}
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - cmd: python-app-{{ name }}-virtualenv
      - file: python-app-{{ name }}-environment
{%- endif %}
{%- endif %}
{%- endfor %}
