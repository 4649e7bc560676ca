# A streaming replica of kingfisher-main's PostgreSQL: an example to copy. Those in comments show their defaults, or an
# example. Secrets are not here. Put them into private/, under the same keys, where git ignores them:
#
#   postgres:
#     replication:
#       password: …  # that of postgres:users:replica in the primary's pillar
#
# The primary's pillar has postgres:users:replica, with a password and `replication: True`, and this server's address in
# postgres:replica_ipv4 or replica_ipv6.

postgres:
  # The primary's. Debian's own, if unset.
  # version: 17
  # data_directory: /var/lib/postgresql/17/main
  replication:
    primary: postgres.example.com
    port: 5432
    user: replica
    # What the primary keeps for it, while it is away.
    primary_slot_name: replica1
    # verify-full, if the primary has a certificate that this server trusts.
    sslmode: require
  configuration:
    name: kingfisher-replica
    source: shared
    context:
      storage: ssd
      # Long queries of few users, rather than short ones of many.
      type: dw
      # At least the primary's.
      max_connections: 100
