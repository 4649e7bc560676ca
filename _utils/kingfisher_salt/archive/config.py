"""The settings of the archive: pillar ``kingfisher_archive`` and the arguments over it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import settings
from ..errors import KingfisherError
from ..settings import REQUIRED, Key, absolute, positive
from .bucket import Bucket, connect

ROOT = "kingfisher_archive"


def _cron_file(value: str) -> str | None:
    """Cron passes over files in /etc/cron.d with other names, and says nothing of it."""
    fits = Path(value).is_absolute() and re.fullmatch(r"[A-Za-z0-9_-]+", Path(value).name)
    return None if fits else "must be an absolute path, to a name of letters, digits, _ and -"


def _one_line(value: str) -> str | None:
    return None if value.isprintable() else "must be one line"


def _not_negative(value: float) -> str | None:
    return None if value >= 0 else "must be 0 or more"


def _one_of(*allowed: str) -> Any:
    return lambda value: None if value in allowed else f"must be one of {', '.join(allowed)}"


S3 = {
    "endpoint_url": Key(),
    "region": Key(),
    "profile": Key(),
    "credentials_file": Key(check=absolute),
    "access_key_id": Key(),
    "secret_access_key": Key(secret=True),
    "session_token": Key(secret=True),
    "connect_timeout": Key((int, float), 10, positive),
    "read_timeout": Key((int, float), 60, positive),
    "attempts": Key((int,), 5, positive),
}
DATABASE = {
    "host": Key(default="localhost"),
    "port": Key((int,), 5432, positive),
    "name": Key(default="kingfisher_process"),
    "user": Key(default="kingfisher_process"),
    "password": Key(secret=True),
    "passfile": Key(check=absolute),
    "connect_timeout": Key((int,), 10, positive),
}
SCHEDULE = {
    "by": Key(default="cron", check=_one_of("cron", "salt")),
    "user": Key(default="root"),
    "minute": Key((str, int), "0"),
    "hour": Key((str, int), "3"),
    "daymonth": Key((str, int), "*"),
    "month": Key((str, int), "*"),
    "dayweek": Key((str, int), "*"),
    "mailto": Key(check=_one_line),
}
SCHEMA = {
    "bucket": Key(default=REQUIRED),
    "data_directory": Key(default=REQUIRED, check=absolute),
    "logs_directory": Key(default=REQUIRED, check=absolute),
    "cache_file": Key(default="/var/lib/kingfisher-archive/cache.sqlite", check=absolute),
    "lock_file": Key(default="/run/lock/kingfisher-archive.lock", check=absolute),
    "min_age_days": Key((int, float), 7, _not_negative),
    "storage_class": Key(default="STANDARD_IA"),
    "workers": Key((int,), 2, positive),
    "s3": Key((dict,), {}, keys=S3),
    "database": Key((dict,), None, keys=DATABASE),
    "schedule": Key((dict,), None, keys=SCHEDULE),
    "cron_file": Key(default="/etc/cron.d/kingfisher-archive", check=_cron_file),
    "log_level": Key(check=_one_of("debug", "info", "warning", "error", "critical")),
    "sentry_dsn": Key(secret=True),
}

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
