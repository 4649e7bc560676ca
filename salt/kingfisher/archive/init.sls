# Directories, schedule and logging of the archive. What is no longer in pillar leaves the server.
{%- from "lib.jinja" import checked, owned, halted with context %}
{%- from "kingfisher/archive/map.jinja" import archive, schedule, times, directory, salt_call, is_ssh, has_sentry,
    config_directory, minion_file with context %}
{%- set id = 'kingfisher-archive' %}
{%- set owned_files = ([archive.cron_file] if schedule and schedule.by == 'cron' else []) %}

{{ checked('kingfisher.archive', optional=['kingfisher_archive', 'system_contacts']) }}

# A file that was at another path before.
{{ owned('kingfisher.archive', files=owned_files) }}

{%- if 'kingfisher_archive' in pillar %}

kingfisher-archive-cache-directory:
  file.directory:
    - name: {{ directory | json }}
    - makedirs: True
{%- if schedule and schedule.user != 'root' %}
    - user: {{ schedule.user }}
{%- endif %}

kingfisher-archive-lock-directory:
  file.directory:
    - name: {{ salt['file.dirname'](archive.lock_file) | json }}
    - makedirs: True
{%- endif %}

{%- if schedule and not salt_call %}

kingfisher-archive-schedule-needs-a-minion:
  test.fail_without_changes:
    - name: >-
        kingfisher_archive:schedule needs salt-call on this server: install salt-minion, or remove the setting, and run
        kingfisher.archive through salt-ssh from a schedule elsewhere
{%- endif %}

# A file of its own in cron.d is found again whichever user it runs the command as, unlike an entry in a crontab.
kingfisher-archive-cron:
{%- if schedule and schedule.by == 'cron' and salt_call and not halted %}
  file.managed:
    - name: {{ archive.cron_file | json }}
    - source: salt://kingfisher/archive/files/cron.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - file: kingfisher-archive-cache-directory
{%- else %}
  file.absent:
    - name: {{ archive.cron_file | json }}
{%- endif %}

{%- if schedule and schedule.by == 'salt' and salt_call and not halted %}

kingfisher-archive-salt-schedule:
  schedule.present:
    - name: {{ id }}
    - function: kingfisher.archive
    - cron: {{ times | json }}
    - maxrunning: 1
    - require:
      - file: kingfisher-archive-cache-directory
{%- elif not is_ssh and id in salt['schedule.list'](show_all=True, return_yaml=False, offline=True) %}

kingfisher-archive-salt-schedule:
  schedule.absent:
    - name: {{ id }}
{%- endif %}

{%- if not is_ssh %}

kingfisher-archive-minion-configuration:
{%- if archive.log_level or (archive.has_sentry_dsn and has_sentry) %}
  file.managed:
    - name: {{ minion_file | json }}
    - source: salt://kingfisher/archive/files/minion.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0600'
    - makedirs: True
    - show_changes: False
{%- else %}
  file.absent:
    - name: {{ minion_file | json }}
{%- endif %}

{%- if config_directory == '/etc/salt' %}

# A minion reads its configuration when it starts. The job that this is goes on meanwhile, in a process of its own.
kingfisher-archive-minion-restarted:
  cmd.run:
    - name: systemctl restart --no-block salt-minion
    - onlyif: systemctl is-active --quiet salt-minion
    - onchanges:
      - file: kingfisher-archive-minion-configuration
    - order: last
{%- endif %}
{%- endif %}

{%- if archive.has_sentry_dsn and not has_sentry %}

kingfisher-archive-has-no-sentry:
  test.fail_without_changes:
    - name: >-
        kingfisher_archive:sentry_dsn has no effect, since Salt {{ grains['saltversion'] }} has no Sentry handler:
        remove the setting, and have the mail about failed runs sent to whoever acts on it, with
        kingfisher_archive:schedule:mailto
{%- endif %}
