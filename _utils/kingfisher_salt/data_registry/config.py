"""The settings of the Data Registry: pillar ``data_registry`` and the arguments over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import settings
from ..apps import config as apps_config
from ..apps.application import Application
from ..settings import Key, absolute, positive

ROOT = "data_registry"
NAME = "the Data Registry"
DIRECTORY = "/data/deploy/data-registry"


def _words(value: list[Any]) -> str | None:
    good = value and all(isinstance(word, str) and word for word in value)
    return None if good else "must be the words of a command, like [journalctl, --unit, 'registry-{task}']"


def _names(value: list[Any]) -> str | None:
    return None if all(isinstance(name, str) and name for name in value) else "must be a list of names of queues"


SCHEMA = {
    **apps_config.schema(service="cron", timeout=600),
    "public_url": Key(),
    "state_directory": Key(default="/var/lib/kingfisher-data-registry", check=absolute),
    "stalled_hours": Key((int, float), 24, positive),
    "lock_hours": Key((int, float), 24, positive),
    "pelican_queues": Key((list,), (), _names),
    "logs": Key((list,), None, _words),
}


@dataclass(frozen=True)
class Config:
    """Settings that were checked. The names of times have their unit."""

    app: Application
    public_url: str | None
    state_directory: Path
    stalled_hours: float
    lock_hours: float
    pelican_queues: tuple[str, ...]
    logs: tuple[str, ...] | None


def load(pillar: Mapping[str, Any], arguments: Mapping[str, Any]) -> Config:
    """
    Check pillar ``data_registry`` and the arguments laid over it, without touching the outside world.

    :raises SettingsError: with every problem
    """
    values, problems = settings.read(SCHEMA, pillar, arguments, ROOT)
    settings.fail(problems)
    return Config(
        app=apps_config.application(values, NAME, ROOT, DIRECTORY),
        public_url=values["public_url"].rstrip("/") if values["public_url"] else None,
        state_directory=Path(values["state_directory"]),
        stalled_hours=values["stalled_hours"],
        lock_hours=values["lock_hours"],
        pelican_queues=tuple(values["pelican_queues"]),
        logs=tuple(values["logs"]) if values["logs"] else None,
    )
