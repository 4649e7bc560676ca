# A proxy for HTTP and HTTPS, for the addresses in tinyproxy:allow alone.
{%- from "lib.jinja" import checked with context %}

{{ checked('tinyproxy', required=['tinyproxy', 'tinyproxy:allow']) }}

{#- A file that is there before the package is, stays. So it never runs with the package's own. #}
tinyproxy-configuration:
  file.managed:
    - name: /etc/tinyproxy/tinyproxy.conf
    - source: salt://tinyproxy/files/tinyproxy.conf.jinja
    - template: jinja
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: True

tinyproxy-package:
  pkg.installed:
    - name: tinyproxy
    - require:
      - file: tinyproxy-configuration

tinyproxy-service:
  service.running:
    - name: tinyproxy
    - enable: True
    - require:
      - pkg: tinyproxy-package
    - watch:
      - file: tinyproxy-configuration
