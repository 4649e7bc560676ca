"""What is looked at on the server's own host: its database, migrations, scheduler and deposits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import config, deposits, migrations, server_file, tools
from .checks.health import Finding, Probe
from .checks.report import State

#: Deposits and migrations that are named. The functions of Salt have the others.
_NAMED = 3


def load(pillar: Mapping[str, Any]) -> dict[str, Probe]:
    """
    Return the checks, by name.

    :raises KingfisherError: if pillar ``deposit`` or the server's configuration file is not right
    """
    settings = config.load(pillar, {})
    server = server_file.read(settings)
    return {
        "database": lambda: _database(server),
        "migrations": lambda: _migrations(settings, server),
        "scheduler": lambda: _scheduler(settings),
        "stuck": lambda: _stuck(settings, server),
    }


def _database(server: server_file.Server) -> Finding:
    with server.tables():
        return Finding(State.OK, "it answers")


def _migrations(settings: config.Config, server: server_file.Server) -> Finding:
    pending = migrations.migrations(settings, server)["pending"]
    if not pending:
        return Finding(State.OK, "none is pending", 0)
    return Finding(State.WARNING, f"{_some(pending)} pending: deposit.migrate", len(pending))


def _scheduler(settings: config.Config) -> Finding:
    tools.script(settings, "tasks", ids=[])
    return Finding(State.OK, "it answers")


def _stuck(settings: config.Config, server: server_file.Server) -> Finding:
    found = deposits.stuck(settings, server)["deposits"]
    if not found:
        return Finding(State.OK, "no deposit is", 0)
    names = [f"{each['id']} ({each['status']} for {each['hours']:g} h)" for each in found]
    return Finding(State.WARNING, f"deposit {_some(names)}: deposit.stuck tells what to do", len(found))


def _some(names: list[str]) -> str:
    left = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {left} more" if left > 0 else "")
