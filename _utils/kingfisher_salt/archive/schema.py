"""What pillar ``kingfisher_archive`` may hold. It is checked before the packages that the archive needs are there."""

from __future__ import annotations

import re
from pathlib import Path

from .. import cron, database_settings
from ..checks import one_line, one_of
from ..settings import REQUIRED, Key, absolute, positive

ROOT = "kingfisher_archive"


def _cron_file(value: str) -> str | None:
    """Cron passes over files in /etc/cron.d with other names, and says nothing of it."""
    fits = Path(value).is_absolute() and re.fullmatch(r"[A-Za-z0-9_-]+", Path(value).name)
    return None if fits else "must be an absolute path, to a name of letters, digits, _ and -"


def _not_negative(value: float) -> str | None:
    return None if value >= 0 else "must be 0 or more"


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
DATABASE = database_settings.schema("kingfisher_process")
SCHEDULE = {
    "by": Key(default="cron", check=one_of("cron", "salt")),
    "user": Key(default="root", check=one_line),
    **cron.times("0", "3"),
    "mailto": Key(check=one_line),
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
    "log_level": Key(check=one_of("debug", "info", "warning", "error", "critical")),
    "sentry_dsn": Key(secret=True),
}
