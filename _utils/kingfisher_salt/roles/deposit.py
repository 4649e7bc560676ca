"""Pillar ``deposit``: the settings of the functions and of the check, and the server of the SLS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import cron
from ..checks import one_line, some_texts, texts
from ..deposit import config
from ..deposit.checks import config as check_config
from ..settings import Key, absolute, positive


def _schedule(value: str) -> str | None:
    """Check the five times of a line of cron.d. Without, nothing is scheduled."""
    fields = value.split(" ")
    good = not value or (len(fields) == 5 and not any(map(cron.field, fields)))
    return None if good else "must be five fields of a line in crontab(5), like */5 * * * *, or empty"


def _workers(values: Mapping[Any, Any]) -> str | None:
    for name, worker in values.items():
        if worker is not None and worker is not False and not isinstance(worker, dict):
            return f"must have settings for {name}, or False"
        if unknown := sorted(map(str, set(worker or ()) - _WORKER)):
            return f"must not have {', '.join(unknown)} for {name}, which has {', '.join(sorted(_WORKER))}"
    return None


def _check(schedule: str, stale_after: int) -> dict[str, Key]:
    return {"cron": Key(default=schedule, check=_schedule), "stale_after": Key((int,), stale_after, positive)}


_WORKER = {"concurrency", "max_tasks_per_child", "log_level", "queue", "config"}
CLIENT = {
    "password": Key(secret=True),
    "password_file": Key(check=absolute),
    "password_env": Key(),
    "collections": Key((list, str)),
    "first_name": Key(),
    "last_name": Key(),
    "email": Key(),
    "is_active": Key((bool,)),
    "provider_url": Key(),
    "domain": Key(),
}
SERVER = {
    "user": Key(default="swhdeposit", check=one_line),
    "worker_user": Key(default="swhworker", check=one_line),
    # Of Debian, in place of a virtual environment.
    "packages": Key((list,), None, some_texts),
    "python": Key(default="/usr/bin/python3", check=absolute),
    "requirements": Key(default="salt://swh/deposit/files/requirements.txt"),
    "requirements_hash": Key(),
    "listen": Key(default="127.0.0.1:5006", check=one_line),
    # How the workers reach it.
    "url": Key(check=one_line),
    "processes": Key((int,), 4, positive),
    "timeout": Key((int,), 3600, positive),
    "manage_database": Key((bool,), True),
    "env": Key((dict,), {}, secret=True),
    "broker": Key(secret=True),
    "sentry_dsn": Key(secret=True),
    # server.yml, as it is.
    "config": Key((dict,), {}, secret=True),
    # By name, checker and loader: False, or concurrency, max_tasks_per_child, log_level, config.
    "workers": Key((dict,), {}, _workers, secret=True),
    "check": Key(
        (dict,),
        {},
        keys={
            "health": Key((dict,), {}, keys=_check("*/5 * * * *", 900)),
            "end_to_end": Key((dict,), {}, keys=_check("0 * * * *", 10800)),
            "mailto": Key(check=one_line),
        },
    ),
}
DEPOSIT = Key(
    (dict,),
    keys={
        **config.SCHEMA,
        "collections": Key((list,), [], texts),
        "absent": Key((list,), [], texts),
        "clients": Key((dict,), {}, each=CLIENT),
        # The end-to-end check. Without it, there is none.
        "check": Key((dict,), None, keys=check_config.SCHEMA),
        # The host. Without it, there is none.
        "server": Key((dict,), None, keys=SERVER),
    },
)
