"""Pillar ``kingfisher_collect``: a Scrapyd host; and ``minion``."""

from __future__ import annotations

from typing import Any

from ..checks import one_line, one_of
from ..settings import Key, absolute, positive

#: Those of scrapyd.conf that states set by other settings.
_OURS = {"eggs_dir", "dbs_dir", "logs_dir", "jobs_dir", "items_dir", "jobstorage", "username", "password"}


def _options(values: dict[Any, Any]) -> str | None:
    """Check that what goes into scrapyd.conf is not in it already, and cannot begin another line."""
    if twice := sorted(_OURS.intersection(values)):
        return (
            f"must not have {', '.join(twice)}: directories follow from kingfisher_collect:directory, and credentials "
            "from scrapyd:username and scrapyd:password"
        )
    wrong = [name for name, value in values.items() if one_line(f"{name}{value}")]
    return f"must have options of one line, and {wrong[0]!r} has more" if wrong else None


COLLECT = Key(
    (dict,),
    keys={
        "user": Key(default="collect"),
        "group": Key(),
        "directory": Key(check=absolute),
        "python": Key(default="/usr/bin/python3", check=absolute),
        "requirements": Key(default="salt://kingfisher/collect/files/requirements.txt"),
        "requirements_hash": Key(),
        "environment_file": Key(default="/etc/kingfisher-collect.env", check=absolute),
        "unit_file": Key(default="/etc/systemd/system/scrapyd.service", check=absolute),
        "cron_file": Key(default="/etc/cron.d/kingfisher-collect", check=absolute),
        "mailto": Key(check=one_line),
        "reports": Key((bool,), True),
        "retention_days": Key((int,), None, positive),
        "drain_timeout": Key((int,), 300, positive),
        # scrapyd.conf: any other option of Scrapyd's.
        "scrapyd": Key((dict,), {}, _options, secret=True),
        "env": Key((dict,), {}, secret=True),
    },
)
MINION = Key(
    (dict,),
    keys={"python": Key(check=one_of("onedir", "venv", "packages"))},
)
