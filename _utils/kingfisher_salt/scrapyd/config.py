"""The settings of Scrapyd: pillar ``scrapyd`` and the arguments over it."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .. import settings
from ..settings import Key, absolute, positive

ROOT = "scrapyd"
#: Names that stand for this host itself.
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def _percent(value: float) -> str | None:
    return None if 0 <= value < 100 else "must be from 0 to 99"


def _url(value: str) -> str | None:
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    return None if good else "must be an address like http://localhost:6800"


SCHEMA = {
    "url": Key(default="http://localhost:6800", check=_url),
    "public_url": Key(check=_url),
    "unix_socket": Key(check=absolute),
    "project": Key(),
    "username": Key(),
    "password": Key(secret=True),
    "timeout": Key((int, float), 60, positive),
    "logs_directory": Key(check=absolute),
    "databases_directory": Key(check=absolute),
    "data_directory": Key(check=absolute),
    "max_proc": Key((int,), None, positive),
    "poll_interval": Key((int, float), 5, positive),
    "stalled_minutes": Key((int, float), 60, positive),
    "lost_hours": Key((int, float), 24, positive),
    "disk_free_percent": Key((int, float), 10, _percent),
    "checkout": Key(check=absolute),
    "python": Key(default=sys.executable, check=absolute),
    "service": Key(default="scrapyd"),
    "drain_file": Key(default="/var/lib/kingfisher-scrapyd/drain.json", check=absolute),
    "scheduled_file": Key(default="/var/lib/kingfisher-scrapyd/scheduled.json", check=absolute),
}


@dataclass(frozen=True)
class Config:
    """Settings that were checked. The names of times have their unit; others are in seconds."""

    url: str
    public_url: str
    unix_socket: Path | None
    project: str | None
    username: str | None
    password: str | None
    timeout: float
    logs_directory: Path | None
    databases_directory: Path | None
    data_directory: Path | None
    max_proc: int | None
    poll_interval: float
    stalled_minutes: float
    lost_hours: float
    disk_free_percent: float
    checkout: Path | None
    python: Path
    service: str
    drain_file: Path
    scheduled_file: Path

    @property
    def place(self) -> str:
        """Return where Scrapyd is, for messages."""
        return f"Scrapyd at {self.unix_socket or self.url}"

    @property
    def is_here(self) -> bool:
        """Return whether Scrapyd is on this host, as far as its address tells."""
        host = urlsplit(self.url).hostname
        return bool(self.unix_socket) or host in (*LOOPBACK, socket.gethostname(), socket.getfqdn())


def load(pillar: Mapping[str, Any], arguments: Mapping[str, Any]) -> Config:
    """
    Check pillar ``scrapyd`` and the arguments laid over it, without touching the outside world.

    :raises SettingsError: with every problem
    """
    values, problems = settings.read(SCHEMA, pillar, arguments, ROOT)
    if not problems:
        problems = _together(values)
    settings.fail(problems)
    for key, setting in SCHEMA.items():
        if setting.check is absolute and values[key]:
            values[key] = Path(values[key])
    values["public_url"] = (values["public_url"] or values["url"]).rstrip("/")
    values["url"] = values["url"].rstrip("/")
    return Config(**values)


def _together(values: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with settings that are right one by one."""
    problems = [
        f"{ROOT}:{key} must not hold credentials: put them into {ROOT}:username and {ROOT}:password, or ~/.netrc"
        for key in ("url", "public_url")
        if values[key] and "@" in urlsplit(values[key]).netloc
    ]
    if bool(values["username"]) != bool(values["password"]):
        missing = "password" if values["username"] else "username"
        problems.append(f"{ROOT}:{missing} is not set, and Scrapyd needs both: set it, or put both into ~/.netrc")
    if values["drain_file"] == values["scheduled_file"]:
        problems.append(f"{ROOT}:drain_file and {ROOT}:scheduled_file must be two files")
    return problems
