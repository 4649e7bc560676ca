"""The settings of Kingfisher Process: pillar ``kingfisher_process`` and the arguments over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import database, database_settings, settings
from ..apps import config as apps
from ..apps.application import Application
from ..settings import Key, positive

ROOT = "kingfisher_process"
DIRECTORY = "/data/deploy/kingfisher-process"


def _paths(value: dict[Any, Any]) -> str | None:
    good = all(isinstance(path, str) and Path(path).is_absolute() for pair in value.items() for path in pair)
    return None if good else "must map absolute paths of this server to those that the application sees"


SCHEMA = {
    "database": Key((dict,), {}, keys=database_settings.schema("kingfisher_process")),
    "paths": Key((dict,), {}, _paths),
    "stuck_hours": Key((int, float), 24, positive),
    **apps.schema(service="cron", timeout=3600),
}


@dataclass(frozen=True)
class Config:
    """Settings that were checked. ``paths`` maps directories of this server to those that the application sees."""

    app: Application
    database: dict[str, Any]
    paths: dict[Path, Path]
    stuck_hours: float

    def connect(self) -> Any:
        """Return a connection that cannot change anything, as a context manager."""
        return database.connect(self.database, f"{ROOT}:database", readonly=True)

    def as_seen(self, path: Path) -> Path:
        """Return the path under which the application sees a file or directory of this server."""
        for here in sorted(self.paths, key=lambda key: len(key.parts), reverse=True):
            if path.is_relative_to(here):
                return self.paths[here] / path.relative_to(here)
        return path


def load(pillar: Mapping[str, Any], arguments: Mapping[str, Any]) -> Config:
    """
    Check pillar ``kingfisher_process`` and the arguments laid over it, without touching the outside world.

    :raises SettingsError: with every problem
    """
    values, problems = settings.read(SCHEMA, pillar, arguments, ROOT)
    settings.fail(problems)
    return Config(
        apps.application(values, "Kingfisher Process", ROOT, DIRECTORY),
        values["database"],
        {Path(here): Path(there) for here, there in values["paths"].items()},
        values["stuck_hours"],
    )
