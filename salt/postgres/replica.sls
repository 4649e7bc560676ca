# A streaming replica of the primary in postgres:replication.
{%- from "lib.jinja" import checked with context %}

include:
  - postgres

{{ checked('postgres.replica', required=['postgres', 'postgres:replication']) }}
