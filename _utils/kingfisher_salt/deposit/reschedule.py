"""Load deposits again that failed, or that were loaded by a loader with a bug."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from ..errors import KingfisherError
from . import deposits, tools
from .config import Config
from .server_file import Server

#: The statuses of which all deposits can be rescheduled at once.
STATUSES = ("failed", "done", "verified")
#: Seconds that each deposit adds to the time after which no other is tried.
_EACH = 2
#: Seconds for the start of the program, and for the last deposit, about which the scheduler may be asked twice.
_MARGIN = 60


def reschedule(
    config: Config,
    server: Server,
    *,
    ids: list[int] | None,
    status: str | None = None,
    since: datetime | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """
    Reset deposits to verified, drop their identifiers, and make their loading tasks due.

    The scheduler is asked first, and each deposit is saved only if its task was made due, so that none is left
    verified without one. One that was left so by others is repaired.

    :param ids: the deposits. Without it, those of ``status``, complete or received ``since`` a time
    :returns: ``deposits`` (by id: ``outcome``, ``comment``, ``before``, ``status``, and the dropped ``swhid`` and
        ``swhid_context``), ``summary`` and ``failed``
    :raises KingfisherError: if nothing was done, since the scheduler or the database does not answer
    """
    if ids is None:
        ids = _chosen(server, status, since)
    else:
        with server.tables():
            pass  # says in one sentence what is wrong with the database
    found: dict[str, Any] = {}
    if ids:
        seconds = config.timeout + _EACH * len(ids)
        limit = replace(config, timeout=seconds + config.lock_timeout + _MARGIN)
        found = tools.script(limit, "reschedule", ids=ids, seconds=seconds, dry_run=dry_run)
    outcomes = [entry["outcome"] for entry in found.values()]
    return {
        "deposits": found,
        "summary": {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))},
        "dry_run": dry_run,
        "failed": {
            number: entry["comment"]
            for number, entry in found.items()
            if entry["outcome"] not in ("rescheduled", "already_scheduled")
        },
    }


def parse_ids(given: Any) -> list[int]:
    """
    Return the ids in what a person gave: a number, a list, or numbers with commas between them.

    :raises ValueError: if it is anything else. The text begins with "must be"
    """
    items = given if isinstance(given, (list, tuple)) else str(given).split(",")
    ids = []
    for item in items:
        text = str(item).strip()
        if isinstance(item, (bool, float)) or not (text.isascii() and text.isdigit()) or not 0 < int(text) < 2**63:
            raise ValueError(f"must be a number or a list of numbers, not {given!r}: deposit.list shows them")
        ids.append(int(text))
    if not ids or len(ids) > deposits.MOST:
        raise ValueError(f"must be 1 to {deposits.MOST} numbers, not {len(ids)}")
    return list(dict.fromkeys(ids))


def parse_time(given: Any) -> datetime:
    """
    Return a time, in UTC unless it says otherwise.

    :raises ValueError: if it is none. The text begins with "must be"
    """
    try:
        time = given if isinstance(given, datetime) else datetime.fromisoformat(str(given).replace("Z", "+00:00"))
    except ValueError:
        raise ValueError(f"must be a time like 2026-01-31 or 2026-01-31T04:05:06, not {given!r}") from None
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def _chosen(server: Server, status: str | None, since: datetime | None) -> list[int]:
    if status not in STATUSES:
        raise KingfisherError(f"argument status must be one of {', '.join(STATUSES)}, not {status!r}")
    if status == "done" and since is None:
        raise KingfisherError(
            "argument since is not set: with status=done, it keeps you from loading all deposits that ever were again"
        )
    rows = deposits.listing(server, status=status, since=since, limit=deposits.MOST + 1)
    if len(rows) > deposits.MOST:
        raise KingfisherError(f"argument since: more than {deposits.MOST} deposits are {status}: choose a later time")
    return sorted(row["id"] for row in rows)
