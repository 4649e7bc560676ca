"""The sections of pillar that states read, by path. docs/pillar.md describes them, which a test compares with this."""

from __future__ import annotations

from collections.abc import Mapping

from ..archive import schema as archive
from ..docker_apps import config as docker_apps
from ..docker_apps import owner
from ..incremental import config as incremental
from ..scrapyd import config as scrapyd
from ..settings import Key
from . import collect, core, deposit, maintenance, postgres, python_apps, rabbitmq, tinyproxy

SECTIONS: Mapping[str, Key] = {
    **postgres.SECTIONS,
    "rabbitmq": Key((dict,), keys=rabbitmq.SCHEMA),
    "deposit": deposit.DEPOSIT,
    "docker": Key((dict,), keys=owner.SCHEMA),
    # Its entries may have more, for the templates of compose files: docker_apps reads them.
    "docker_apps": Key((dict,), each=docker_apps.SCHEMA),
    "tinyproxy": Key((dict,), keys=tinyproxy.SCHEMA),
    "tinyproxy:allow": tinyproxy.ALLOW,
    "kingfisher_archive": Key((dict,), keys=archive.SCHEMA),
    "kingfisher_collect": collect.COLLECT,
    "kingfisher_operators": Key((dict,)),
    "maintenance": maintenance.MAINTENANCE,
    "minion": collect.MINION,
    "python_apps": python_apps.PYTHON_APPS,
    "python_apps:kingfisher_collect": Key((dict,), keys=incremental.SCHEMA),
    "scrapyd": Key((dict,), keys=scrapyd.SCHEMA),
    "ssh": core.SSH,
    "system_contacts": core.SYSTEM_CONTACTS,
    "time": core.TIME,
    "users": core.USERS,
}
