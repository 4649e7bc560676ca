"""How the incremental crawls are: the last run, the one that goes on, and the next."""

from __future__ import annotations

import os
import re
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ..errors import KingfisherError
from ..settings import nearest
from . import installed, lock, record
from .config import Config

#: What Scrapy's LogStats extension says once a minute.
_PROGRESS = re.compile(rb"Crawled (\d+) pages \(at \d+ pages/min\), scraped (\d+) items \(at \d+ items/min\)")
#: Bytes of a log's end that are looked through for it.
_TAIL = 1 << 17
#: A run that takes longer is overdue: the next one was left out.
_DAY = 86400


def status(config: Config, identifier: str | None = None) -> dict[str, dict[str, Any]]:
    """
    Return, by identifier, how each crawl is that Salt installed.

    :raises KingfisherError: if it is asked for one that Salt did not install
    """
    there = installed.identifiers(config)
    if identifier is not None and identifier not in there:
        known = nearest(identifier, there) if there else ": there are none"
        raise KingfisherError(
            f"{identifier} is not an incremental crawl of this server{known} If it is new in pillar: "
            "salt 'ID' state.apply kingfisher.collect"
        )
    return {name: _one(config, name) for name in there if identifier in (None, name)}


def _one(config: Config, identifier: str) -> dict[str, Any]:
    try:
        values = installed.read(config.installed(identifier) / installed.SETTINGS)
    except KingfisherError as e:
        return {"result": "damaged", "reason": str(e)}
    crawl = installed.crawl(values)
    state = config.state(identifier)
    last = record.read(state)
    told = {
        "spider": crawl.spider,
        "table": crawl.table,
        "next_run": next_run(values["schedule"], datetime.now()),  # noqa: DTZ005 - cron's time is local
        "result": last.get("result", "never run"),
    }
    if who := lock.holder(state / "lock"):
        return {**told, **_running(last, who)}
    if told["result"] == "running":
        told |= {"result": "interrupted", "reason": f"the run was killed while it was {last.get('phase')}"}
    shown = (
        "reason",
        "started",
        "ended",
        "seconds",
        "rows",
        "rows_before",
        "finish_reason",
        "errors",
        "flags",
        "log",
        "last_success",
    )
    return {**{name: last[name] for name in shown if last.get(name) is not None}, **told}


def _running(last: dict[str, Any], who: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "result": "running",
        "phase": last.get("phase"),
        "pid": who.get("pid"),
        "started": who.get("since"),
        "rows_before": last.get("rows_before"),
        "last_success": last.get("last_success"),
    }
    if who.get("since"):
        told["seconds"] = round(time.time() - datetime.fromisoformat(who["since"]).timestamp())
        told["overdue"] = told["seconds"] > _DAY
    if log := last.get("log"):
        told |= {"log": log, **_progress(Path(log))}
    return told


def _progress(log: Path) -> dict[str, Any]:
    """Return how many pages and items the log tells of, and for how many seconds it has told nothing."""
    try:
        # The user of the crawls chose the path: nothing is waited for.
        with os.fdopen(os.open(log, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            found = os.fstat(file.fileno())
            file.seek(max(0, found.st_size - _TAIL))
            said = _PROGRESS.findall(file.read())
    except OSError:
        return {}
    told = {"log_silent_seconds": max(0, round(time.time() - found.st_mtime))}
    return {**told, "pages": int(said[-1][0]), "items": int(said[-1][1])} if said else told


def next_run(schedule: str, now: datetime) -> str:
    """Return when a schedule of ours (minute, hour and perhaps day are numbers) is due next, in local time."""
    minute, hour, day, *_ = schedule.split()
    due = now.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
    while due <= now or (day != "*" and due.day != int(day)):
        due += timedelta(days=1)
    return due.strftime("%Y-%m-%d %H:%M")
