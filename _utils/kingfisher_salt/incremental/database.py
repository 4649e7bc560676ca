"""The tables of incremental crawls: how many rows they have, and who may read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import psycopg2
from psycopg2 import sql

from ..errors import KingfisherError

SETTING = "python_apps:kingfisher_collect:database"

_ROLES = "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s::text[])"
# What others were granted on tables, whoever owns them. A table without grants has no row.
_GRANTED = """
    SELECT c.relname, r.rolname
    FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a JOIN pg_roles r ON r.oid = a.grantee
    WHERE c.oid = ANY(SELECT to_regclass(quote_ident(name)) FROM unnest(%s::text[]) AS name)
    AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner
"""
_EXISTING = "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(quote_ident(name)) IS NOT NULL"
# What a role can be kept from before it comes to a table.
_DOORS = """
    SELECT r.rolname, has_database_privilege(r.oid, current_database(), 'CONNECT'),
    has_schema_privilege(r.oid, current_schema(), 'USAGE')
    FROM pg_roles r WHERE r.rolname = ANY(%s::text[])
"""


def url(database: Mapping[str, Any]) -> str:
    """Return Kingfisher Collect's DATABASE_URL, without a password: libpq finds that in the environment."""
    return f"postgresql://{database['user']}@{database['host']}:{database['port']}/{database['name']}"


@contextmanager
def connect(database: Mapping[str, Any], **secrets: Any) -> Iterator[Any]:
    """
    Return a connection, as a context manager which closes it. Each statement is a transaction, until told otherwise.

    :param secrets: ``password`` or ``passfile``, if libpq is not to look for them itself
    :raises KingfisherError: if the database does not answer, then or within the context
    """
    try:
        with closing(
            psycopg2.connect(
                host=database["host"],
                port=database["port"],
                dbname=database["name"],
                user=database["user"],
                connect_timeout=database["connect_timeout"],
                application_name="kingfisher-incremental",
                **secrets,
            )
        ) as connection:
            connection.autocommit = True
            yield connection
    except psycopg2.Error as e:
        said = str(e).strip().splitlines() or [type(e).__name__]
        raise KingfisherError(f"the database {url(database)}: {said[0]}: correct it, or {SETTING}") from e


def ask(connection: Any, query: Any, *parameters: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return list(cursor.fetchall())


def rows(connection: Any, table: str) -> int | None:
    """Return how many rows a table has. None if there is no such table."""
    if not existing(connection, [table]):
        return None
    count: int = ask(connection, sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))[0][0]
    return count


def storage(connection: Any, table: str) -> int | None:
    """Return what changes when a table is dropped and created, or truncated, and not when rows are added."""
    number: int | None = ask(connection, "SELECT pg_relation_filenode(to_regclass(quote_ident(%s)))", table)[0][0]
    return number


def existing(connection: Any, tables: Iterable[str]) -> set[str]:
    return {name for (name,) in ask(connection, _EXISTING, list(tables))}


def missing_roles(connection: Any, users: Iterable[str]) -> set[str]:
    """Return the users that are no roles."""
    wanted = set(users)
    return wanted - {name for (name,) in ask(connection, _ROLES, list(wanted))}


def granted(connection: Any, tables: Iterable[str]) -> set[tuple[str, str]]:
    """Return who may read which of these tables, as (table, user), leaving out owners and public."""
    return {(table, user) for table, user in ask(connection, _GRANTED, list(tables))}


def shut_out(connection: Any, users: Iterable[str]) -> dict[str, str]:
    """Return, by user, what they still lack to read a table that they were granted."""
    lacks = {}
    for user, may_connect, may_use in ask(connection, _DOORS, list(users)):
        if not may_connect:
            lacks[user] = "CONNECT on the database"
        elif not may_use:
            lacks[user] = "USAGE on the schema"
    return lacks


def grant(connection: Any, grants: Iterable[tuple[str, str]]) -> None:
    """Let users read tables, given as (table, user)."""
    _each(connection, "GRANT SELECT ON {} TO {}", grants)


def revoke(connection: Any, grants: Iterable[tuple[str, str]]) -> None:
    """Take back what :func:`grant` gave."""
    _each(connection, "REVOKE SELECT ON {} FROM {}", grants)


def _each(connection: Any, statement: str, grants: Iterable[tuple[str, str]]) -> None:
    with connection.cursor() as cursor:
        for table, user in sorted(grants):
            cursor.execute(sql.SQL(statement).format(sql.Identifier(table), sql.Identifier(user)))
