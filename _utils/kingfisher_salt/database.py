"""Connections to a PostgreSQL database, for all that read one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import psycopg2

from .errors import KingfisherError


class DatabaseError(KingfisherError):
    """A database does not answer, or refuses a statement."""


def place(database: Mapping[str, Any]) -> str:
    """Return where a database is, for messages."""
    return f"{database['user']}@{database['host']}:{database['port']}/{database['name']}"


@contextmanager
def connect(database: Mapping[str, Any], setting: str, *, readonly: bool = False) -> Iterator[Any]:
    """
    Return a connection, as a context manager which closes it. What was not committed is rolled back.

    :param database: checked settings. Without a password, libpq looks for one itself
    :param setting: their pillar path, for messages
    :param readonly: whether PostgreSQL is to refuse whatever would change something
    :raises DatabaseError: if the database does not answer, then or within the context
    """
    secrets = {key: database[key] for key in ("password", "passfile") if database[key]}
    try:
        with closing(
            psycopg2.connect(
                host=database["host"],
                port=database["port"],
                dbname=database["name"],
                user=database["user"],
                connect_timeout=database["connect_timeout"],
                application_name="kingfisher-salt",
                client_encoding="UTF8",
                **secrets,
            )
        ) as connection:
            connection.set_session(readonly=readonly)
            yield connection
    except psycopg2.Error as e:
        said = str(e).strip().splitlines() or [type(e).__name__]
        raise DatabaseError(f"the database {place(database)}: {said[0]}: correct it, or {setting}") from e


def ask(connection: Any, query: str, *parameters: Any) -> list[dict[str, Any]]:
    """Return what a query finds, each row by the names of its columns."""
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]
