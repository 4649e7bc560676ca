# ~/.netrc and ~/.config/scrapy.cfg of those who deploy spiders. Nothing else in these files is touched.
{%- for name in pillar.get('kingfisher_operators') or {} %}

kingfisher-operator-{{ name }}:
  kingfisher_operator.configured:
    - name: {{ name | json }}
{%- else %}

kingfisher-operator-is-not-in-pillar:
  test.nop:
    - name: There is no kingfisher_operators in this server's pillar
{%- endfor %}
