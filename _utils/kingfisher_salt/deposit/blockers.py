"""Who else uses the deposit's database, so that a migration of its tables would wait."""

from __future__ import annotations

import re
from typing import Any

from .. import database

#: Characters of a query that are worth showing.
_LENGTH = 300
_COLUMNS = """
    pid, coalesce(usename, '') AS user, coalesce(application_name, '') AS application, state,
    round(extract(epoch FROM now() - coalesce(xact_start, query_start, backend_start)))::int AS seconds, query
"""
# A session that holds any lock on a table keeps a migration of that table waiting.
_HOLDERS = f"""
    SELECT {_COLUMNS}, (
        SELECT array_agg(DISTINCT c.relname::text)
        FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
        WHERE l.pid = a.pid AND l.granted AND l.database = a.datid
            AND c.relkind IN ('r', 'p') AND c.relnamespace = to_regnamespace('public')
    ) AS tables
    FROM pg_stat_activity a
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
# Those that hold up whoever waits, however many stand in between.
_BLOCKING = f"""
    SELECT DISTINCT {_COLUMNS}
    FROM pg_stat_activity
    WHERE pid IN (
        SELECT unnest(pg_blocking_pids(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = %s AND wait_event_type = 'Lock'
    )
"""
# Django's own, whoever began it: a strong lock on a table, or its record of what it did as the last query.
_MIGRATING = f"""
    SELECT {_COLUMNS}
    FROM pg_stat_activity a
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND (
        application_name = %s
        OR query ~* '^\\s*(insert into|delete from) "?django_migrations'
        OR EXISTS (
            SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
            WHERE l.pid = a.pid AND l.mode = 'AccessExclusiveLock' AND l.database = a.datid
                AND c.relkind IN ('r', 'p') AND c.relnamespace = to_regnamespace('public')
        )
    )
"""


def holders(connection: Any) -> list[dict[str, Any]]:
    """Return the sessions that hold a lock on a table now, with the tables."""
    return [_shown(row) for row in database.ask(connection, _HOLDERS) if row["tables"]]


def blocking(connection: Any, application: str) -> list[dict[str, Any]]:
    """Return the sessions that the sessions of an application wait for now."""
    return [_shown(row) for row in database.ask(connection, _BLOCKING, application)]


def migrating(connection: Any, application: str) -> list[dict[str, Any]]:
    """Return the sessions that migrate the database: those of an application, and those that look like Django's."""
    return [_shown(row) for row in database.ask(connection, _MIGRATING, application)]


def describe(session: dict[str, Any]) -> str:
    """Return a session in a few words."""
    by = f" of {session['user']}" if session["user"] else ""
    return f"pid {session['pid']}{by}, for {session['seconds']} s: {session['query'] or session['state']}"


def without_literals(query: str) -> str:
    """Return a query without its texts and numbers, which may be passwords or personal."""
    query = re.sub(r"\$(\w*)\$.*?(?:\$\1\$|\Z)", "?", query, flags=re.DOTALL)
    query = re.sub(r"[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)", "?", query, flags=re.DOTALL)
    query = re.sub(r"'(?:[^']|'')*(?:'|\Z)", "?", query)
    query = re.sub(r"(?<![\w$\"])-?\d+(?:\.\d+)?\b", "?", query)
    return " ".join(query.split())[:_LENGTH]


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "query": without_literals(row["query"] or "")}
