"""The settings of an application's commands, which are the same for each application."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..settings import Key, absolute, positive
from .application import Application


def _words(value: list[Any]) -> str | None:
    good = value and all(isinstance(word, str) and word and "\0" not in word for word in value)
    return None if good else "must be the words of a command, like [/opt/app/.venv/bin/python, manage.py]"


def _service(value: str) -> str | None:
    return None if re.fullmatch(r"[A-Za-z0-9][\w.-]*", value) else "must be the name of a service in the compose file"


def _user(value: str) -> str | None:
    return None if re.fullmatch(r"[A-Za-z_][\w.-]*", value) else "must be the name of a user"


def schema(service: str, timeout: float) -> dict[str, Key]:
    """
    Return the settings of an application: how its commands are run.

    :param service: the service of the compose file whose image has the commands
    :param timeout: for how long a command may take, in seconds
    """
    return {
        "manage": Key((list,), None, _words),
        "directory": Key(check=absolute),
        "service": Key(default=service, check=_service),
        "user": Key(check=_user),
        "timeout": Key((int, float), timeout, positive),
    }


def application(values: Mapping[str, Any], name: str, root: str, directory: str) -> Application:
    """
    Return the application that checked settings describe.

    :param name: its name, for messages
    :param root: its pillar key, for messages
    :param directory: where its compose file is, unless the settings say otherwise, or have another command
    """
    given = values["directory"] or (None if values["manage"] else directory)
    return Application(
        name=name,
        root=root,
        manage=tuple(values["manage"]) if values["manage"] else None,
        directory=Path(given) if given else None,
        service=values["service"],
        user=values["user"],
        timeout=values["timeout"],
    )
