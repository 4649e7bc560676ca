"""The deposit's own configuration file, server.yml: its database, and who keeps the passwords."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .. import database
from ..errors import KingfisherError
from .config import ROOT, Config
from .tools import acting_as

_PLACE = f"{ROOT}:configuration_file"
#: What the server itself asks for in production, as paths of keys.
_REQUIRED = ("scheduler", "authentication_provider", "private", "private:secret_key", "private:db", "private:db:name")
#: What the development platform's settings have instead.
_DEVELOPMENT = {"name": "swh-deposit-dev"}


@dataclass(frozen=True)
class Server:
    """What the file says, as far as it is used here."""

    path: Path
    database: dict[str, Any] = field(repr=False)
    authentication: str
    #: Who connects, where PostgreSQL knows the server by its user, and not by a password.
    peer: str | None = None

    @property
    def setting(self) -> str:
        """Return where the database's settings are, for messages."""
        return f"private:db in {self.path}"

    @contextmanager
    def connect(self, *, readonly: bool = True) -> Iterator[Any]:
        """
        Return a connection to the deposit's database, as a context manager which closes it.

        :raises KingfisherError: if it does not answer, or has not the deposit's tables
        """
        with ExitStack() as stack:
            with acting_as(self.peer):
                connection = stack.enter_context(database.connect(self.database, self.setting, readonly=readonly))
            yield connection

    @contextmanager
    def tables(self) -> Iterator[Any]:
        """
        Return a connection that only reads, to a database that was migrated.

        :raises KingfisherError: if it does not answer, or has not the deposit's tables
        """
        with self.connect() as connection:
            [found] = database.ask(connection, "SELECT to_regclass('deposit_client') IS NOT NULL AS there")
            if not found["there"]:
                raise KingfisherError(
                    f"the database {database.place(self.database)} has no table deposit_client: deposit.migrate, or "
                    f"correct {self.setting}"
                )
            yield connection


def read(config: Config) -> Server:
    """
    Read the file, and check that it has what the server needs.

    :raises KingfisherError: if it is missing, unreadable, no YAML, or without a required key
    """
    path = config.configuration_file
    values = _values(path)
    required = _REQUIRED if config.platform == "production" else ("scheduler",)
    missing = [key for key in required if not _get(values, key)]
    if missing:
        raise KingfisherError(
            f"{path} does not set {', '.join(missing)}, without which the server does not start: add it"
        )
    given = _get(values, "private:db") if config.platform == "production" else _DEVELOPMENT
    if not isinstance(given, Mapping):
        raise KingfisherError(
            f"{path}: private:db must be a mapping with name, user, password, host and port: correct it"
        )
    host, password = given.get("host") or "", given.get("password")
    return Server(
        path=path,
        peer=config.user if not password and (not host or str(host).startswith("/")) else None,
        database={
            "host": host,
            "port": given.get("port") or "",
            "name": given["name"],
            "user": given.get("user") or "",
            "password": password,
            "passfile": None,
            "connect_timeout": 10,
        },
        authentication=str(values.get("authentication_provider", "basic")),
    )


def _values(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise KingfisherError(
            f"{_PLACE}: there is no file {path}: salt 'ID' state.apply swh.deposit, or correct the setting"
        ) from None
    except OSError as e:
        raise KingfisherError(
            f"{_PLACE}: {path} cannot be read ({e.strerror}): run this as root, or as a member of the file's group"
        ) from e
    except UnicodeDecodeError:
        raise KingfisherError(f"{path} is not UTF-8 text: correct it") from None
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as e:
        # Its own message repeats lines, which may hold a password.
        line = getattr(getattr(e, "problem_mark", None), "line", None)
        where = "" if line is None else f", see its line {line + 1}"
        raise KingfisherError(f"{path} is not YAML{where}: correct it") from None
    if not isinstance(values, Mapping):
        raise KingfisherError(f"{path} must be a mapping, with scheduler, private and so on: correct it")
    return values


def _get(values: Any, path: str) -> Any:
    for key in path.split(":"):
        values = values.get(key) if isinstance(values, Mapping) else None
    return values
