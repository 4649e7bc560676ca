"""The settings of Pelican backend: pillar ``pelican`` and the arguments over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .. import database, database_settings, settings
from ..apps import config as apps
from ..apps.application import Application
from ..settings import Key

ROOT = "pelican"
DIRECTORY = "/data/deploy/pelican-backend"
SCHEMA = {
    "database": Key((dict,), {}, keys=database_settings.schema("pelican_backend")),
    **apps.schema(service="cron", timeout=600),
}


@dataclass(frozen=True)
class Config:
    """Settings that were checked."""

    app: Application
    database: dict[str, Any]

    def connect(self, *, readonly: bool = True) -> Any:
        """Return a connection, as a context manager."""
        return database.connect(self.database, f"{ROOT}:database", readonly=readonly)


def load(pillar: Mapping[str, Any], arguments: Mapping[str, Any]) -> Config:
    """
    Check pillar ``pelican`` and the arguments laid over it, without touching the outside world.

    :raises SettingsError: with every problem
    """
    values, problems = settings.read(SCHEMA, pillar, arguments, ROOT)
    settings.fail(problems)
    return Config(apps.application(values, "Pelican backend", ROOT, DIRECTORY), values["database"])
