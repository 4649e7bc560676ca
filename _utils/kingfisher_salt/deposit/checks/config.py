"""The settings of the checks: pillar ``deposit:check`` and the arguments over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ... import settings
from ...settings import REQUIRED, Key, positive

ROOT = "deposit:check"
#: Where the server of salt/swh/deposit listens.
URL = "http://127.0.0.1:5006/1"
#: The end of the origin's address, if pillar has no other, and the external identifier of each deposit of a check.
SLUG = "kingfisher-salt-check"


def _url(value: str) -> str | None:
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        return "must be an address like http://127.0.0.1:5006/1"
    return "must not hold credentials: set username and password" if "@" in parts.netloc else None


def _collection(value: str) -> str | None:
    return None if value and "/" not in value else "must be the name of a collection"


SCHEMA = {
    "url": Key(check=_url),
    "username": Key(default=REQUIRED),
    "password": Key(secret=True),
    "collection": Key(check=_collection),
    "origin_url": Key(check=_url),
    "warning": Key((int, float), 120, positive),
    "critical": Key((int, float), 3600, positive),
    "poll_interval": Key((int, float), 5, positive),
    "timeout": Key((int, float), 30, positive),
}


@dataclass(frozen=True)
class CheckConfig:
    """Settings that were checked. Times are in seconds."""

    url: str
    username: str
    password: str
    collection: str
    origin_url: str
    warning: float
    critical: float
    poll_interval: float
    timeout: float


def load(deposit: Mapping[str, Any], arguments: Mapping[str, Any]) -> CheckConfig:
    """
    Check ``check`` of pillar ``deposit``, and the arguments laid over it.

    What it does not say is taken from ``url`` there, and from the client in ``clients``.

    :raises SettingsError: with every problem
    """
    given = deposit.get("check")
    values, problems = settings.read(SCHEMA, {} if given is None else given, arguments, ROOT)
    problems = [problem.replace("argument check:", "argument ", 1) for problem in problems]
    password = values.get("password")  # one that was refused is not there
    client = _client(deposit, values["username"])
    if isinstance(values["username"], str):
        place = f"deposit:clients:{values['username']}"
        if password is None and not isinstance(client.get("password"), str):
            problems.append(f"{ROOT}:password is not set, nor is {place}:password")
        if values["origin_url"] is None and not isinstance(client.get("provider_url"), str):
            problems.append(f"{ROOT}:origin_url is not set, nor is {place}:provider_url, under which it would be")
    if not problems and values["warning"] > values["critical"]:
        problems.append(f"{ROOT}:warning must be no more than {ROOT}:critical, {values['critical']:g}")
    settings.fail(problems)
    values["password"] = password or client["password"]
    values["origin_url"] = values["origin_url"] or f"{client['provider_url'].rstrip('/')}/{SLUG}"
    values["collection"] = values["collection"] or values["username"]
    values["url"] = (values["url"] or deposit.get("url") or URL).rstrip("/")
    return CheckConfig(**values)


def _client(deposit: Mapping[str, Any], username: Any) -> Mapping[str, Any]:
    clients = deposit.get("clients")
    client = clients.get(username) if isinstance(clients, Mapping) else None
    return client if isinstance(client, Mapping) else {}
