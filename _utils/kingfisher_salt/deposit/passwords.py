"""A client's password: from pillar, a file or the environment, and never an argument."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import KingfisherError
from .config import ROOT, Config
from .server_file import Server

#: The keys of a client, in pillar ``deposit:clients``, of which one may say the password.
KEYS = ("password", "password_file", "password_env")


def find(config: Config, server: Server, username: str, arguments: Mapping[str, Any], *, pillar: bool) -> str | None:
    """
    Return the password that is meant for a client, if any is.

    :param arguments: ``password_file`` and ``password_env``, which win over pillar
    :param pillar: whether to look there
    :raises KingfisherError: if there are two, if it cannot be read, or if Keycloak keeps the passwords
    """
    given = {key: value for key, value in arguments.items() if value is not None}
    place = "argument "
    if not given and pillar:
        client = config.clients.get(username)
        given = (
            {key: client[key] for key in KEYS if client.get(key) is not None} if isinstance(client, Mapping) else {}
        )
        place = f"{ROOT}:clients:{username}:"
    if not given:
        return None
    if server.authentication == "keycloak":
        raise KingfisherError(
            f"{place}{next(iter(given))}: authentication_provider is keycloak in {server.path}, and then Keycloak "
            "keeps the passwords: remove it, and set the password in Keycloak"
        )
    if len(given) > 1:
        raise KingfisherError(f"{' and '.join(place + key for key in sorted(given))} are both set: keep one")
    [(key, value)] = given.items()
    if not isinstance(value, str):
        raise KingfisherError(f"{place}{key} must be text: put it into quotes")
    if key == "password_file":
        password = _from_file(f"{place}{key}", value)
    elif key == "password_env":
        password = _from_environment(f"{place}{key}", value)
    else:
        password = value
    if not password:
        raise KingfisherError(f"{place}{key} is empty: set a password")
    if "\0" in password or "\ufffd" in password:
        raise KingfisherError(f"{place}{key} has a character that no password may have: choose another password")
    return password


def _from_file(place: str, name: str) -> str:
    path = Path(name)
    if not path.is_absolute():
        raise KingfisherError(f"{place} must be an absolute path, not {name!r}")
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise KingfisherError(f"{place}: {path} is open to others than its owner: chmod 600 {path}")
            content = file.read()
        text = content.decode()
    except OSError as e:
        raise KingfisherError(f"{place}: {path} cannot be read ({e.strerror}): create it, with mode 0600") from e
    except UnicodeDecodeError:
        raise KingfisherError(f"{place}: {path} is not UTF-8 text: correct it") from None
    # The line end that an editor adds. Others are the password's own.
    return text.removesuffix("\n")


def _from_environment(place: str, name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise KingfisherError(f"{place}: {name} is not set in the environment of the minion or salt-call: set it")
    return value
