"""The settings of the archive: pillar ``kingfisher_archive`` and the arguments over it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import settings
from ..errors import KingfisherError
from .bucket import Bucket, connect
from .schema import ROOT, SCHEMA

#: What functions take besides settings.
OPTIONS = ("dry_run", "source", "limit", "refresh", "deep", "days", "format", "path")


@dataclass(frozen=True)
class Config:
    """Settings that were checked. Times are in days or seconds, as their names say."""

    bucket: str
    data_directory: Path
    logs_directory: Path
    cache_file: Path
    lock_file: Path
    min_age_days: float
    storage_class: str
    workers: int
    s3: dict[str, Any]
    database: dict[str, Any] | None


def load(pillar: Mapping[str, Any], arguments: Mapping[str, Any]) -> tuple[Config | None, list[str]]:
    """
    Check pillar ``kingfisher_archive`` and the arguments laid over it, without touching the outside world.

    :returns: the settings, if they can be used, and the problems
    """
    values, problems = _read(pillar, arguments)
    return (None if problems else _config(values)), problems


def _read(pillar: Mapping[str, Any], arguments: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    values, problems = settings.read(SCHEMA, pillar, arguments, ROOT, OPTIONS)
    return values, problems + _directories(values)


def _config(values: Mapping[str, Any]) -> Config:
    return Config(
        bucket=values["bucket"],
        data_directory=Path(values["data_directory"]),
        logs_directory=Path(values["logs_directory"]),
        cache_file=Path(values["cache_file"]),
        lock_file=Path(values["lock_file"]),
        min_age_days=values["min_age_days"],
        storage_class=values["storage_class"],
        workers=values["workers"],
        s3=values["s3"],
        database=values["database"],
    )


def load_and_check(pillar: Mapping[str, Any], arguments: Mapping[str, Any]) -> Config:
    """
    Check the settings, and that the bucket they name can be used.

    :raises SettingsError: with every problem
    """
    values, problems = _read(pillar, arguments)
    if values["bucket"] and not any(f"{ROOT}:s3" in problem or "argument s3" in problem for problem in problems):
        try:
            Bucket(connect(values["s3"]), values["bucket"]).check()
        except KingfisherError as e:
            problems.append(f"{ROOT}:bucket: {e}")
    settings.fail(problems)
    return _config(values)


def _directories(values: Mapping[str, Any]) -> list[str]:
    problems = []
    for key in ("data_directory", "logs_directory"):
        if path := _absolute_path(values[key]):
            if not path.is_dir():
                problems.append(f"{ROOT}:{key} must be a directory, and {path} is not one")
            elif not os.access(path, os.R_OK | os.X_OK):
                problems.append(f"{ROOT}:{key} must be a directory that can be read, and {path} is not")
    problems += [
        f"{ROOT}:{key} must be a file, and {values[key]} is a directory"
        for key in ("cache_file", "lock_file")
        if (path := _absolute_path(values[key])) and path.is_dir()
    ]
    for section, key in (("s3", "credentials_file"), ("database", "passfile")):
        if (path := _absolute_path((values[section] or {}).get(key))) and not os.access(path, os.R_OK):
            problems.append(f"{ROOT}:{section}:{key} must be a file that can be read, and {path} is not")
    return problems


def _absolute_path(value: Any) -> Path | None:
    """Return the path in a setting, unless something else is wrong with it already."""
    return Path(value) if isinstance(value, str) and Path(value).is_absolute() else None
