"""A PostgreSQL server of Debian's: its roles, databases and privileges, replication, and backups."""
