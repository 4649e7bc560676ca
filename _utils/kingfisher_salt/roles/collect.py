"""Pillar ``kingfisher_collect``: a Scrapyd host; and ``minion``."""

from __future__ import annotations

from ..settings import Key, absolute, positive
from .checks import one_of

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
        "mailto": Key(),
        "reports": Key((bool,), True),
        "retention_days": Key((int,), None, positive),
        "drain_timeout": Key((int,), 300, positive),
        # scrapyd.conf: any option of Scrapyd's.
        "scrapyd": Key((dict,), {}),
        "env": Key((dict,), {}, secret=True),
    },
)
MINION = Key(
    (dict,),
    keys={"python": Key(check=one_of("onedir", "venv", "packages"))},
)
