# RabbitMQ with its management interface: users, virtual hosts, permissions and policies of pillar, and no guest.
{%- from "lib.jinja" import checked with context %}
{%- set given = pillar.get('rabbitmq') or {} %}
{%- set repository_file = '/etc/apt/sources.list.d/kingfisher-rabbitmq.list' %}
{%- set configuration_file = '/etc/rabbitmq/conf.d/50-kingfisher.conf' %}

{%- if pillar.get('rabbitmq') is none %}

rabbitmq-is-not-in-pillar:
  test.nop:
    - name: There is no rabbitmq in this server's pillar. A RabbitMQ that is here stays, with its users and messages

# RabbitMQ heeds it when it starts again.
rabbitmq-removed:
  file.absent:
    - names:
      - {{ repository_file }}
      - {{ configuration_file }}
{%- else %}

{{ checked('rabbitmq', required=['rabbitmq']) }}

{%- if given.get('repository') %}

rabbitmq-repository:
  pkgrepo.managed:
    - name: {{ given.repository.get('name', '') | json }}
    - file: {{ repository_file }}
{%- if given.repository.get('key_url') %}
    - key_url: {{ given.repository.key_url | json }}
    - aptkey: False
{%- endif %}
    - require_in:
      - pkg: rabbitmq-package
{%- else %}

rabbitmq-repository:
  file.absent:
    - name: {{ repository_file }}
{%- endif %}

# Before the package is there, so that the server starts with it.
rabbitmq-configuration:
  file.managed:
    - names:
      - {{ configuration_file }}:
        - source: salt://rabbitmq/files/rabbitmq.conf.jinja
        - template: jinja
      - /etc/rabbitmq/enabled_plugins:
        - contents: '[rabbitmq_management].'
    # No owner: the package gives enabled_plugins to its own user.
    - mode: '0644'
    - makedirs: True

rabbitmq-package:
  pkg.installed:
    - name: rabbitmq-server
    - require:
      - file: rabbitmq-configuration

rabbitmq-service:
  service.running:
    - name: rabbitmq-server
    - enable: True
    - require:
      - pkg: rabbitmq-package
    - watch:
      - file: rabbitmq-configuration

# Passwords are read from pillar by the state, and reach the server as hashes.
rabbitmq-definitions:
  rabbitmq_server.configured:
    - require:
      - service: rabbitmq-service
{%- endif %}
