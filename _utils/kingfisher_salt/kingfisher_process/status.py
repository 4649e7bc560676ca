"""How a collection is, in the application's own words too, and which collections make no headway."""

from __future__ import annotations

import re
from typing import Any

from ..apps.application import ApplicationError, plain
from .collections import collections, find, notes
from .config import Config

#: The most unfinished collections that are looked at for those that are stuck.
MOST = 1000
_MORE = f"only the {MOST} oldest unfinished collections are looked at: run this again when these are gone"
_LINE = re.compile(r"([a-z_]{3,30}): (.{0,200})")


def status(config: Config, number: int) -> dict[str, Any]:
    """
    Return a collection's steps, files, compiled collection, what it waits for, and what ``collectionstatus`` says.

    If that command fails, ``problem`` says so, and the rest is there, from the database.

    :raises KingfisherError: if there is no such collection, or the database does not answer
    """
    with config.connect() as connection:
        found = find(connection, number)
        result = found | {"errors": notes(connection, found)}
    try:
        output = config.app.run("collectionstatus", str(number))
    except ApplicationError as e:
        return result | {"problem": str(e)}
    says = said(output.stdout)
    if not says:
        return result | {"problem": f"collectionstatus said nothing of it: {config.app.said(output)}"}
    return result | {"collectionstatus": says}


def said(text: str) -> dict[str, Any]:
    """Return the ``key: value`` lines of ``collectionstatus``, those of the compiled collection below ``compiled``."""
    says: dict[str, Any] = {}
    part = says
    for line in plain(text).splitlines():
        # Older versions begin the part of the compiled collection by an empty line alone.
        if not line.strip() or line.strip() == "Compiled collection":
            part = says.setdefault("compiled", {}) if says else says
        elif match := _LINE.fullmatch(line.strip()):
            part[match[1]] = match[2]
    return {key: value for key, value in says.items() if value != {}}


def stuck(config: Config) -> dict[str, Any]:
    """
    Return the unfinished collections that have been open or closed for longer than ``stuck_hours``, each with a cure.
    The oldest are first.

    :raises KingfisherError: if the database does not answer
    """
    unfinished = collections(config, unfinished=True, oldest=True, limit=MOST).values()
    return {
        "stuck": [
            {
                "collection": row["id"],
                "source": row["source"],
                "data_version": row["data_version"],
                "hours": row["hours"],
                "waits_for": row["waits_for"],
                "cure": _cure(row),
            }
            for row in unfinished
            if row["hours"] >= config.stuck_hours
        ],
        "stuck_hours": config.stuck_hours,
        "notes": [_MORE] if len(unfinished) == MOST else [],
    }


def _cure(row: dict[str, Any]) -> str:
    if "closed" not in row:
        return f"scrapyd.jobs: if its crawl does not run, kingfisher_process.cancel {row['id']}"
    return (
        "rabbitmq_queue.list: if queues are not empty, look at the workers' logs; if they are, its messages are lost: "
        f"kingfisher_process.delete {row['id']}, and load it again"
    )
