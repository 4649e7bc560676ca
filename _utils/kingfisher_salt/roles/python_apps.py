"""Pillar ``python_apps``: applications in Python that run on the host itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .. import cron
from ..checks import one_line
from ..settings import REQUIRED, Key, absolute

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def names(value: Mapping[Any, Any]) -> str | None:
    """Check names that become part of a file's name."""
    wrong = [name for name in value if not isinstance(name, str) or not _NAME.fullmatch(name)]
    return f"must have names in small letters, digits and _, like kingfisher_collect: {wrong[0]!r}" if wrong else None


def _user(value: str) -> str | None:
    return None if _USER.fullmatch(value) and value != "root" else "must be the name of a user, and not root"


def _below(value: str) -> str | None:
    parts = value.split("/")
    return None if value and not value.startswith("/") and ".." not in parts else "must be a path below the checkout"


def _environment(value: Mapping[Any, Any]) -> str | None:
    good = all(
        isinstance(name, str)
        and _VARIABLE.fullmatch(name)
        and isinstance(text, (str, int, float))
        and "\n" not in str(text)
        and "\0" not in str(text)
        for name, text in value.items()
    )
    return None if good else "must have names of environment variables, with text on one line"


def _config(value: Mapping[Any, Any]) -> str | None:
    good = all(
        isinstance(path, str) and not _below(path) and isinstance(source, str) and source.startswith("salt://")
        for path, source in value.items()
    )
    return None if good else "must map paths below the user's home to sources like salt://…"


COMMAND = Key(default=REQUIRED, check=one_line)
APP = {
    "user": Key(default=REQUIRED, check=_user),
    "directory": Key(check=absolute),
    "git": Key(
        (dict,),
        REQUIRED,
        keys={
            "url": Key(default=REQUIRED, check=one_line),
            "branch": Key(default="main", check=one_line),
            "target": Key(check=_below),
        },
    ),
    "python": Key(default="/usr/bin/python3", check=absolute),
    "virtualenv": Key(check=absolute),
    "requirements": Key(default="requirements.txt", check=_below),
    "env": Key((dict,), {}, _environment, secret=True),
    # Files below the user's home, and where they come from.
    "config": Key((dict,), {}, _config),
    "services": Key((dict,), {}, names, each={"command": COMMAND}),
    "timers": Key((dict,), {}, names, each={"command": COMMAND, "calendar": Key(default=REQUIRED, check=one_line)}),
    "cron": Key((dict,), {}, names, each={"command": COMMAND, **cron.times()}),
    "mailto": Key(check=one_line),
}


PYTHON_APPS = Key((dict,), check=names, each=APP)
