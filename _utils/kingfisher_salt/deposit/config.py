"""The settings of the deposit: pillar ``deposit`` and the arguments over it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import settings
from ..settings import Key, absolute, positive

ROOT = "deposit"
PLATFORMS = ("development", "production")
#: The statuses that a deposit is meant to leave, and after how many hours it overstays in each.
STUCK_HOURS = {"partial": 168, "deposited": 1, "verified": 6, "loading": 24}


def _platform(value: str) -> str | None:
    return None if value in PLATFORMS else f"must be one of {', '.join(PLATFORMS)}"


SCHEMA = {
    "configuration_file": Key(default="/etc/softwareheritage/deposit/server.yml", check=absolute),
    "bin_directory": Key(default="/usr/bin", check=absolute),
    "platform": Key(default="production", check=_platform),
    "user": Key(),
    "timeout": Key((int, float), 60, positive),
    "migrate_timeout": Key((int, float), 3600, positive),
    "lock_timeout": Key((int, float), 10, positive),
    "stuck_hours": Key(
        default={}, keys={status: Key((int, float), hours, positive) for status, hours in STUCK_HOURS.items()}
    ),
    "clients": Key((dict,), {}, secret=True),
    # What the SLS and the checks read.
    "url": Key(),
    "check": Key((dict,), {}, secret=True),
    "server": Key((dict,), {}, secret=True),
    "collections": Key((list,), []),
    "absent": Key((list,), []),
}
#: Settings that a function takes as arguments, too.
ARGUMENTS = ("configuration_file", "bin_directory", "platform", "user", "timeout", "migrate_timeout", "lock_timeout")


@dataclass(frozen=True)
class Config:
    """Settings that were checked. Times are in seconds, except where the name has another unit."""

    configuration_file: Path
    bin_directory: Path
    platform: str
    user: str | None
    timeout: float
    migrate_timeout: float
    lock_timeout: float
    stuck_hours: dict[str, float]
    clients: dict[str, Any] = field(repr=False)

    @property
    def settings_module(self) -> str:
        """Return the name of the settings that Django is to use."""
        return f"swh.deposit.settings.{self.platform}"


def load(pillar: Mapping[str, Any], arguments: Mapping[str, Any], options: Collection[str] = ()) -> Config:
    """
    Check pillar ``deposit`` and the arguments laid over it, without touching the outside world.

    :param options: what else a function takes as arguments, for messages
    :raises SettingsError: with every problem
    """
    values, problems = settings.read(SCHEMA, pillar, arguments, ROOT, options)
    settings.fail(problems)
    kept = {name: values[name] for name in (*ARGUMENTS, "stuck_hours", "clients")}
    for key in ("configuration_file", "bin_directory"):
        kept[key] = Path(kept[key])
    return Config(**kept)
