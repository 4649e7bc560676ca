"""What deposits there are, and which overstay in a status that they are meant to leave."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from .. import database
from ..errors import KingfisherError
from ..settings import nearest
from . import tools
from .config import STUCK_HOURS, Config
from .server_file import Server

STATUSES = ("partial", "expired", "deposited", "verified", "rejected", "loading", "done", "failed")
#: The most deposits that a listing returns.
MOST = 1000
_SELECT = """
    SELECT d.id, d.status, u.username AS client, c.name AS collection, d.origin_url, d.type,
           d.reception_date, d.complete_date, d.swhid, d.swhid_context, d.check_task_id, d.load_task_id,
           d.parent_id AS parent, d.status_detail,
           coalesce(d.complete_date, d.reception_date) AS since
    FROM deposit d
    JOIN auth_user u ON u.id = d.client_id
    JOIN deposit_collection c ON c.id = d.collection_id
"""
_BRIEF = ("id", "status", "client", "collection", "origin_url", "reception_date", "complete_date", "swhid")


def status(server: Server, number: int) -> dict[str, Any]:
    """
    Return all that is known of a deposit.

    :raises KingfisherError: if there is none
    """
    with server.tables() as connection:
        rows = database.ask(connection, f"{_SELECT} WHERE d.id = %s", number)
        if not rows:
            [found] = database.ask(connection, "SELECT max(id) AS id FROM deposit")
            last = f"the last one is {found['id']}" if found["id"] else "there are none yet"
            raise KingfisherError(f"argument deposit: there is no deposit {number}: {last}")
    row = _shown(rows[0])
    del row["since"]
    return row


def listing(
    server: Server,
    *,
    status: str | None = None,
    client: str | None = None,
    older_than: float | None = None,
    since: datetime | None = None,
    limit: int = 100,
) -> list[dict[str, Any]]:
    """
    Return deposits in brief, the newest first.

    :param older_than: hours since it was complete or, if it is not, received
    :raises KingfisherError: if the status or the client is unknown
    """
    conditions = ["true"]
    values: list[Any] = []
    if status is not None:
        check_status(status)
        conditions.append("d.status = %s")
        values.append(status)
    if older_than is not None:
        conditions.append("coalesce(d.complete_date, d.reception_date) < %s")
        values.append(_now() - timedelta(hours=older_than))
    if since is not None:
        conditions.append("coalesce(d.complete_date, d.reception_date) >= %s")
        values.append(since)
    with server.tables() as connection:
        if client is not None:
            _check_client(connection, client)
            conditions.append("u.username = %s")
            values.append(client)
        query = f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY d.id DESC LIMIT %s"
        rows = database.ask(connection, query, *values, limit)
    return [{key: shown[key] for key in _BRIEF} for shown in map(_shown, rows)]


def stuck(config: Config, server: Server) -> dict[str, Any]:
    """
    Return the deposits that overstay, each with what it waits for and the next step, the oldest first.

    A deposit has no time of its last change. So it counts from when it was complete or received and, if it is verified
    or loading, from when its task was to run, which the scheduler is asked for.

    :returns: ``deposits``, ``summary`` (how many by status, and ``left_out``) and ``notes``
    """
    conditions = " OR ".join(
        ["(d.status = %s AND coalesce(d.complete_date, d.reception_date) < %s)"] * len(STUCK_HOURS)
    )
    values = [v for key in STUCK_HOURS for v in (key, _now() - timedelta(hours=config.stuck_hours[key]))]
    with server.tables() as connection:
        rows = database.ask(connection, f"{_SELECT} WHERE {conditions} ORDER BY since LIMIT {MOST + 1}", *values)
    notes = []
    tasks: dict[str, Any] | None = {}
    ids = [_task(row) for row in rows if row["status"] in ("verified", "loading") and _task(row)]
    if ids:
        try:
            tasks = tools.script(config, "tasks", ids=ids)
        except KingfisherError as e:
            tasks = None
            notes.append(f"what the tasks of verified and loading deposits do is not known: {e}")
    found = [entry for row in rows[:MOST] if (entry := _overstays(config, row, tasks))]
    summary = {key: sum(entry["status"] == key for entry in found) for key in STUCK_HOURS}
    if len(rows) > MOST:
        notes.append(f"only the {MOST} oldest are looked at: deposit.list status=STATUS older_than=HOURS")
    return {"deposits": found, "summary": summary, "notes": notes}


def check_status(status: str) -> None:
    """
    Check that a status is one of the deposit's.

    :raises KingfisherError: if not, with the nearest
    """
    if status not in STATUSES:
        raise KingfisherError(f"argument status: {status!r} is no status{nearest(str(status), STATUSES)}")


def _overstays(config: Config, row: dict[str, Any], tasks: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a deposit with its hours and the next step, unless its task began after it was complete."""
    since, status = row["since"], row["status"]
    task = (tasks or {}).get(str(_task(row)))
    if task and status in ("verified", "loading"):
        # A task that waits for a later time, or ran again, counts from then.
        since = max(since, min(datetime.fromisoformat(task["next_run"]), _now()))
    hours = (_now() - since).total_seconds() / 3600
    if hours < config.stuck_hours[status] and not (status == "verified" and task and not task["due"]):
        return None
    shown = _shown(row)
    return {
        **{key: shown[key] for key in _BRIEF if key not in ("swhid", "complete_date")},
        "since": since.isoformat(timespec="seconds"),
        "hours": round(hours, 1),
        "task": task["status"] if task else None,
        "next": _next(row, task, asked=tasks is not None),
    }


def _next(row: dict[str, Any], task: dict[str, Any] | None, *, asked: bool) -> str:
    number, status = row["id"], row["status"]
    if status == "partial":
        return f"its client {row['client']} has not completed it: ask the client to complete or to forget it"
    if status == "deposited":
        if not row["check_task_id"]:
            return (
                "it has no check task, since the scheduler was down when it came: "
                f"ask its client {row['client']} to send it again"
            )
        return "the checker has not checked it: look at the checker's worker, the scheduler's runner and RabbitMQ"
    if not _task(row):
        return "it has no loading task: the scheduler was down when it was verified, or server.yml has checks: false"
    if task is None:
        return f"the scheduler has no task {_task(row)}" if asked else "start the scheduler, and ask again"
    if status == "verified" and not task["due"]:
        return f"its loading task is {task['status']}: deposit.reschedule {number}"
    if status == "verified":
        return "the loader has not taken it: look at the loader's worker, the scheduler's runner and RabbitMQ"
    return "the loader has not ended: look at the loader's worker and its log"


def _check_client(connection: Any, client: str) -> None:
    query = "SELECT username FROM auth_user u JOIN deposit_client c ON c.user_ptr_id = u.id"
    names = [row["username"] for row in database.ask(connection, query)]
    if client not in names:
        raise KingfisherError(f"argument client: there is no client {client}{nearest(str(client), names)}")


def _task(row: dict[str, Any]) -> int:
    text = (row["load_task_id"] or "").strip()
    return int(text) if text.isdigit() else 0


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
        for key, value in row.items()
    }


def _now() -> datetime:
    return datetime.now(tz=timezone.utc)
