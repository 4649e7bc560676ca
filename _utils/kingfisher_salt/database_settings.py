"""The settings of a PostgreSQL database. They are checked before the package that connects to one is there."""

from __future__ import annotations

from .settings import Key, absolute, positive


def schema(name: str) -> dict[str, Key]:
    """
    Return the settings of a database.

    :param name: the default of its name, and of its user's
    """
    return {
        "host": Key(default="localhost"),
        "port": Key((int,), 5432, positive),
        "name": Key(default=name),
        "user": Key(default=name),
        "password": Key(secret=True),
        "passfile": Key(check=absolute),
        "connect_timeout": Key((int,), 10, positive),
    }
