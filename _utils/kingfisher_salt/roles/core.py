"""Pillar ``users``, ``ssh``, ``system_contacts`` and ``time``: what every server has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..checks import one_line, one_of, texts
from ..settings import Key

_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


def _names(value: Mapping[Any, Any]) -> str | None:
    wrong = [name for name in value if not isinstance(name, str) or not _USER.fullmatch(name)]
    return f"must have names of users, like james, and {wrong[0]!r} is none" if wrong else None


def _users(value: Mapping[Any, Any]) -> str | None:
    return "must not have root, whose keys are in ssh:root" if "root" in value else _names(value)


def _keys(value: Mapping[Any, Any]) -> str | None:
    """Check that there is a list of keys for each user."""
    wrong = [name for name, keys in value.items() if not isinstance(keys, list)]
    return f"must have a list of public keys for {wrong[0]}" if wrong else _names(value)


USER = {
    "fullname": Key(default="", check=one_line),
    "groups": Key((list,), (), texts),
    "shell": Key(default="/bin/bash"),
    "uid": Key((int,)),
    # Public keys.
    "ssh": Key((list,), (), texts),
    # As in sudoers(5), after HOST=: like (incremental) NOPASSWD: ALL.
    "sudo": Key((list,), (), texts),
}
USERS = Key((dict,), check=_users, each=USER)
SSH = Key((dict,), check=_keys)
SYSTEM_CONTACTS = Key((dict,), keys={"root": Key(check=one_line), "cron_admin": Key(check=one_line)})
TIME = Key(
    (dict,),
    keys={
        "timezone": Key(default="Etc/UTC", check=one_line),
        "client": Key(default="timesyncd", check=one_of("timesyncd", "chrony")),
        "servers": Key((list,), (), texts),
    },
)
