"""Pillar ``postgres``."""

from __future__ import annotations

from typing import Any

from .. import checks, cron
from ..settings import REQUIRED, Key, absolute, positive


def _schemas(values: dict[Any, Any]) -> str | None:
    for owner in values.values():
        if not isinstance(owner.get("name") if isinstance(owner, dict) else owner, str):
            return "must be a mapping of schemas to their owners"
    return None


def _privileges(values: dict[Any, Any]) -> str | None:
    for roles in values.values():
        if not isinstance(roles, dict):
            return "must be a mapping of schemas to mappings of roles to tables"
        for tables in roles.values():
            if tables is not None and (not isinstance(tables, list) or checks.texts(tables)):
                return "must have, for each role, a list of tables, or nothing for all"
    return None


def _scalars(values: dict[Any, Any]) -> str | None:
    if all(isinstance(value, (str, int, float)) and str(value).isprintable() for value in values.values()):
        return None
    return "must be a mapping of parameters to text, numbers, True or False"


def _location(value: str) -> str | None:
    fits = value.strip("/") == value and value.isprintable() and "//" not in value
    return None if fits else "must be BUCKET or BUCKET/PREFIX"


REPOSITORY = {
    "name": Key(default=REQUIRED, check=checks.one_line),
    "key_url": Key(),
}
CONFIGURATION = {
    # For people: what the configuration is for.
    "name": Key(check=checks.one_line),
    # shared: what suits this machine, by `context`. none: only `settings` and `context:content`.
    "source": Key(default="shared", check=checks.one_of("shared", "none")),
    "context": Key(
        (dict,),
        {},
        keys={
            "storage": Key(default="ssd", check=checks.one_of("ssd", "hdd")),
            "type": Key(default="oltp", check=checks.one_of("oltp", "dw")),
            "max_connections": Key((int,), 100, positive),
            # Lines of postgresql.conf.
            "content": Key(),
        },
    ),
    # Parameters of postgresql.conf.
    "settings": Key((dict,), {}, _scalars),
}
REPLICATION = {
    "primary": Key(default=REQUIRED, check=checks.one_line),
    "port": Key((int,), 5432, checks.port),
    "user": Key(default="replica", check=checks.one_line),
    # Required, which postgres_server.checked says, so that an example can be without.
    "password": Key(secret=True),
    "primary_slot_name": Key(default="replica1", check=checks.one_line),
    "sslmode": Key(default="require", check=checks.one_of("require", "verify-ca", "verify-full")),
}
USER = {
    # Without one, it is known by the name of the operating system's user.
    "password": Key(secret=True),
    "groups": Key((list,), [], checks.texts),
    "replication": Key((bool,), False),
}
DATABASE = {
    # Its owner.
    "user": Key(default=REQUIRED),
    # Schemas, each with its owner.
    "schemas": Key((dict,), {}, _schemas),
    # By schema and role, the tables that the role may read: all, with those to come, without a list.
    "privileges": Key((dict,), {}, _privileges),
    "extensions": Key((list,), [], checks.texts),
}
BACKUP = {
    "type": Key(default=REQUIRED, check=checks.one_of("script", "pgbackrest")),
    "mailto": Key(check=checks.one_line),
    # script
    "location": Key(check=_location),
    "databases": Key((list,), None, checks.some_texts),
    "hour": Key((int, str), 4, cron.field),
    "minute": Key((int, str), 45, cron.field),
    "retention_days": Key((int,), None, positive),
    "s3": Key(
        (dict,),
        {},
        keys={
            "endpoint_url": Key(),
            "region": Key(),
            "access_key_id": Key(),
            "secret_access_key": Key(secret=True),
        },
    ),
    # pgbackrest
    "configuration": Key(default="shared", check=checks.one_of("shared")),
    "stanza": Key(check=checks.one_line),
    "repo_path": Key(check=absolute),
    "repo_type": Key(default="s3", check=checks.one_of("s3", "posix")),
    "process_max": Key((int,), 4, positive),
    "retention_full": Key((int,), 4, positive),
    "s3_bucket": Key(check=checks.one_line),
    "s3_endpoint": Key(check=checks.one_line),
    "s3_region": Key(check=checks.one_line),
    "s3_key": Key(secret=True),
    "s3_key_secret": Key(secret=True),
    # Lines of cron.d, if not a full backup each Sunday, and a difference on other days.
    "cron": Key(),
}
SCHEMA = {
    # Debian's own, if unset.
    "version": Key((int,), None, positive),
    "repository": Key((dict,), None, keys=REPOSITORY),
    "data_directory": Key(check=absolute),
    # Whether connections from anywhere are taken, with a password and TLS.
    "public_access": Key((bool,), False),
    "replica_ipv4": Key((list,), [], checks.addresses(4)),
    "replica_ipv6": Key((list,), [], checks.addresses(6)),
    # Lines of pg_hba.conf.
    "hba": Key((list,), [], checks.texts),
    "configuration": Key((dict,), {}, keys=CONFIGURATION),
    # Makes this server a replica.
    "replication": Key((dict,), None, keys=REPLICATION),
    "groups": Key((list,), [], checks.texts),
    "users": Key((dict,), {}, each=USER),
    "databases": Key((dict,), {}, each=DATABASE),
    "backup": Key((dict,), None, keys=BACKUP),
}
SCRIPT = ("location", "databases")
PGBACKREST = ("stanza", "repo_path")
PGBACKREST_S3 = ("s3_bucket", "s3_endpoint", "s3_region", "s3_key", "s3_key_secret")


def required(key: Key) -> Key:
    """Return a setting that has to be there."""
    return Key(key.types, REQUIRED, key.check, key.keys, key.each, key.secret)


#: Sections that only some servers need: a replica, or a way of backup.
SECTIONS = {
    "postgres": Key((dict,), keys=SCHEMA),
    "postgres:replication": Key((dict,), REQUIRED, keys=REPLICATION),
    **{f"postgres:backup:{name}": required(BACKUP[name]) for name in (*SCRIPT, *PGBACKREST, *PGBACKREST_S3)},
}
