"""Whose the applications are: pillar ``docker:user`` and ``docker:uid``, which have to agree with the server's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .. import settings
from ..settings import REQUIRED, Key

ROOT = "docker"


def _user(value: str) -> str | None:
    return None if re.fullmatch(r"[a-z_][a-z0-9_-]*", value) and value != "root" else "must be the name of a user"


def _uid(value: int) -> str | None:
    return None if 0 < value < 2**31 else "must be the number of a user other than root"


def _packages(value: list[Any]) -> str | None:
    good = value and all(isinstance(name, str) and name for name in value)
    return None if good else "must be a list of packages"


SCHEMA = {
    "user": Key(default=REQUIRED, check=_user),
    "uid": Key((int,), REQUIRED, _uid),
    "packages": Key((list,), None, _packages),
    "daemon": Key((dict,), {}),
    # What only the states of open-contracting/deploy read.
    "syslog_logging": Key((bool,)),
}


def problems(pillar: Any, users: Mapping[str, int]) -> list[str]:
    """
    Return what is wrong with pillar ``docker`` on this server, in sentences.

    :param users: the number of each user in /etc/passwd
    """
    values, found = settings.read(SCHEMA, pillar, {}, ROOT)
    if found:
        return found
    user, uid = values["user"], values["uid"]
    if user in users and users[user] != uid:
        sentence = (
            f"docker:uid in pillar is {uid}, and {user} (docker:user) is {users[user]} in /etc/passwd: make "
            f"docker:uid {users[user]}, so that containers write files as {user}"
        )
        return [sentence]
    others = sorted(name for name, number in users.items() if number == uid and name != user)
    if others:
        sentence = (
            f"docker:uid in pillar is {uid}, which is {others[0]}'s in /etc/passwd, and {user} (docker:user) is not "
            "there yet: make docker:uid a number that is nobody's"
        )
        return [sentence]
    return []
