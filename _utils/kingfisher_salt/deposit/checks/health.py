"""Checks that deposit nothing: server, database, migrations, scheduler, and deposits that are stuck."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...errors import KingfisherError
from .config import CheckConfig
from .report import Report, State, seconds, worst
from .sword import Client


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    state: State
    text: str
    #: A count to be watched over time.
    count: int | None = None


Probe = Callable[[], Finding]


def check(probes: Mapping[str, Probe]) -> Report:
    """
    Run each check, and tell the worst first.

    :param probes: by name; one that raises has found something critical
    """
    findings: dict[str, Finding] = {}
    performance: dict[str, str] = {}
    for name, probe in probes.items():
        began = time.monotonic()
        try:
            found = findings[name] = probe()
        except KingfisherError as e:
            found = findings[name] = Finding(State.CRITICAL, str(e))
        performance[name] = seconds(time.monotonic() - began) if found.count is None else f"{found.count};;;0"
    state = worst([found.state for found in findings.values()])
    if state is State.OK:
        return Report(state, "; ".join(f"{name}: {found.text}" for name, found in findings.items()), performance)
    wrong = sorted((found.state != state, name) for name, found in findings.items() if found.state)
    return Report(state, "; ".join(f"{name}: {findings[name].text}" for _, name in wrong), performance)


def server(config: CheckConfig) -> Finding:
    """Tell whether the server answers the test client, and lets it deposit."""
    collections = Client(config).collections()
    if config.collection in collections:
        return Finding(State.OK, f"{config.url} answers")
    return Finding(
        State.CRITICAL,
        f"client {config.username} may not deposit into collection {config.collection}, but into "
        f"{', '.join(collections) or 'none'}: correct deposit:check:collection, or its collections",
    )
