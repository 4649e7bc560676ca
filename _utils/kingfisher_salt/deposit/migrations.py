"""Bring the deposit's tables to what the installed version of the server wants."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .. import database
from ..errors import KingfisherError, LockedError
from . import blockers, tools
from .config import Config
from .server_file import Server

#: Key of the advisory lock that a migration of ours holds on the deposit's database.
LOCK = 0x6B66_7364
APPLICATION = f"{tools.APPLICATION} migrate"
_POLL = 0.2


def migrations(config: Config, server: Server) -> dict[str, list[str]]:
    """
    Return the migrations that were ``applied``, that are ``pending`` and, after a downgrade, ``unknown``.

    :raises KingfisherError: if the database does not answer
    """
    with server.connect() as connection:
        [found] = database.ask(connection, "SELECT to_regclass('django_migrations') IS NOT NULL AS there")
        query = "SELECT app || '.' || name AS name FROM django_migrations ORDER BY id"
        recorded = [row["name"] for row in database.ask(connection, query)] if found["there"] else []
    plan = tools.django(config, "showmigrations", "--plan", "--no-color")
    lines = [line.strip() for line in plan.splitlines()]
    known = {line[3:].split()[0]: line.startswith("[X]") for line in lines if line.startswith(("[X]", "[ ]"))}
    return {
        "applied": [name for name, applied in known.items() if applied],
        "pending": [name for name, applied in known.items() if not applied],
        "unknown": [name for name in recorded if name not in known],
    }


def migrate(config: Config, server: Server, *, dry_run: bool = False) -> dict[str, Any]:
    """
    Apply what is pending.

    A migration waits for whoever uses its table, and holds up everybody who comes after. So it gives up soon, says
    whom it waited for, and loses nothing: what was applied before it stays, and running this again goes on from there.

    :returns: ``applied`` (now), ``pending`` (after that), ``unknown``, and with ``dry_run`` the sessions that it would
        wait for, as ``blocked_by``
    :raises LockedError: while another migration runs, ours or not
    """
    with _alone(server, take=not dry_run) as connection:
        before = migrations(config, server)
        if dry_run:
            held = blockers.holders(connection) if before["pending"] else []
            return {"applied": [], "pending": before["pending"], "unknown": before["unknown"], "blocked_by": held}
        if not before["pending"]:
            return {**before, "applied": []}
        _apply(config, server)
        after = migrations(config, server)
    if after["pending"]:
        raise KingfisherError(f"{len(after['pending'])} migrations are still pending: {', '.join(after['pending'])}")
    return {**after, "applied": before["pending"]}


@contextmanager
def _alone(server: Server, *, take: bool) -> Iterator[Any]:
    """Return a connection that holds our lock, once nobody else is seen to migrate."""
    with server.connect() as connection:
        connection.autocommit = True  # else it would be idle in a transaction meanwhile
        if take:
            [row] = database.ask(connection, "SELECT pg_try_advisory_lock(%s) AS got", LOCK)
            if not row["got"]:
                query = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = %s AND granted"
                pids = [str(row["pid"]) for row in database.ask(connection, query, LOCK)]
                raise LockedError(
                    f"another deposit.migrate runs, and PostgreSQL's pid {', '.join(pids)} holds its lock: wait for it"
                )
        if others := blockers.migrating(connection, APPLICATION):
            raise LockedError(
                f"another migration of {database.place(server.database)} runs ({blockers.describe(others[0])}): wait "
                f"for it, or end it with SELECT pg_terminate_backend({others[0]['pid']})"
            )
        yield connection


def _apply(config: Config, server: Server) -> None:
    with _watched(server) as seen:
        try:
            tools.django(
                config,
                "migrate",
                "--no-input",
                "--no-color",
                timeout=config.migrate_timeout,
                environment={"PGAPPNAME": APPLICATION},
            )
        except tools.ToolError as e:
            if "lock timeout" not in e.said:
                raise
            raise KingfisherError(_blocked(config, list(seen.values()))) from e


@contextmanager
def _watched(server: Server) -> Iterator[dict[int, dict[str, Any]]]:
    """Note, while the context lasts, which sessions a migration waits for."""
    seen: dict[int, dict[str, Any]] = {}
    ended = threading.Event()

    def watch() -> None:
        try:
            with server.connect() as connection:
                connection.autocommit = True
                while not ended.wait(_POLL):
                    seen.update({row["pid"]: row for row in blockers.blocking(connection, APPLICATION)})
        except KingfisherError:
            return  # the migration says itself what is wrong with the database

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


def _blocked(config: Config, seen: list[dict[str, Any]]) -> str:
    who = "; ".join(map(blockers.describe, seen)) or "a session that has ended since"
    end = " or ".join(f"SELECT pg_terminate_backend({row['pid']})" for row in seen)
    return (
        f"a migration waited {config.lock_timeout:g} s for {who}: let it finish"
        f"{', or end it with ' if end else ''}{end}, and run this again"
    )
