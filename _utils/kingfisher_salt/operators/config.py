"""The settings of operators: pillar ``kingfisher_operators``, by user, then by the name of a server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .. import settings
from ..errors import KingfisherError
from ..settings import REQUIRED, Key, nearest

ROOT = "kingfisher_operators"
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


def _url(value: str) -> str | None:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or not value.isprintable() or " " in value:
        return "must be like https://collect.example.com/"
    return "must not hold credentials: set username and password" if "@" in parts.netloc else None


def _one_line(value: str) -> str | None:
    return None if value and value.isprintable() else "must be on one line"


SERVER = {
    "url": Key(default=REQUIRED, check=_url),
    "project": Key(default=REQUIRED, check=_one_line),
    "username": Key(check=_one_line),
    "password": Key(secret=True, check=_one_line),
}


@dataclass(frozen=True)
class Server:
    """A Scrapyd server that an operator deploys to."""

    name: str
    url: str
    project: str
    username: str | None
    password: str | None

    @property
    def machine(self) -> str:
        return urlsplit(self.url).hostname or ""


def load(pillar: Any, user: str) -> list[Server]:
    """
    Return the servers of an operator.

    :raises KingfisherError: with every problem
    """
    operators = pillar if isinstance(pillar, Mapping) else {}
    if user not in operators:
        known = nearest(user, operators) if operators else ": add the user"
        raise KingfisherError(f"{ROOT}:{user} is not in pillar{known}")
    servers, problems = [], []
    given = operators[user]
    if not isinstance(given, Mapping):
        raise KingfisherError(f"{ROOT}:{user} must be a mapping of servers, like registry, not {given!r}")
    for name, server in given.items():
        place = f"{ROOT}:{user}:{name}"
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            problems.append(f"{place} must be named by letters, digits, ., _ and -")
        values, wrong = settings.read(SERVER, server, {}, place)
        problems += wrong
        if bool(values["username"]) != bool(values["password"]):
            missing = "password" if values["username"] else "username"
            problems.append(f"{place}:{missing} is not set, and Scrapyd needs both: set it, or leave both out")
        servers.append(Server(str(name), **values))
    settings.fail(problems)
    return servers
