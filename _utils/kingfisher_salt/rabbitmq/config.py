"""The settings of RabbitMQ: pillar ``rabbitmq_queue`` and the arguments over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from .. import settings
from ..errors import KingfisherError
from ..settings import Key, absolute, positive

ROOT = "rabbitmq_queue"
PORTS = {"amqp": 5672, "amqps": 5671}


def _address(schemes: tuple[str, ...], example: str) -> Any:
    def check(value: str) -> str | None:
        try:
            parts = urlsplit(value)
            good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        return None if good else f"must be an address like {example}"

    return check


_amqp = _address(tuple(PORTS), "amqp://localhost:5672")

SCHEMA = {
    "management_url": Key(
        default="http://localhost:15672", check=_address(("http", "https"), "http://localhost:15672")
    ),
    "amqp_url": Key(default="amqp://localhost:5672", check=_amqp),
    "vhost": Key(),
    "username": Key(),
    "password": Key(secret=True),
    "url_file": Key(check=absolute),
    "directory": Key(default="/var/lib/kingfisher-rabbitmq", check=absolute),
    "timeout": Key((int, float), 30, positive),
}


@dataclass(frozen=True)
class Config:
    """Settings that were checked. The timeout is in seconds."""

    management_url: str
    host: str
    port: int
    is_encrypted: bool
    vhost: str
    username: str
    password: str = field(repr=False)
    directory: Path
    timeout: float
    #: Where the credentials come from, for messages.
    credentials: str

    @property
    def place(self) -> str:
        """Return where RabbitMQ is, for messages."""
        return f"RabbitMQ at {self.host}:{self.port}"

    @property
    def management_place(self) -> str:
        return f"RabbitMQ's management interface at {self.management_url}"


def load(pillar: Mapping[str, Any], arguments: Mapping[str, Any]) -> Config:
    """
    Check pillar ``rabbitmq_queue`` and the arguments laid over it, and read the file of credentials, if one is named.

    :raises SettingsError: with every problem
    :raises KingfisherError: if that file cannot be used
    """
    # Before anything else, since what is wrong is otherwise shown.
    settings.fail(
        [
            f"{ROOT}:{key} must not hold credentials: put them into {ROOT}:username and :password, or {ROOT}:url_file"
            for key in ("management_url", "amqp_url")
            if any("@" in str(given.get(key)) for given in (pillar, arguments) if isinstance(given, Mapping))
        ]
    )
    values, problems = settings.read(SCHEMA, pillar, arguments, ROOT)
    if not problems:
        problems = _together(values)
    settings.fail(problems)
    username, password, vhost = values["username"], values["password"], None
    amqp_url, credentials = values["amqp_url"], f"those in pillar {ROOT}:username and {ROOT}:password"
    if values["url_file"]:
        path = Path(values["url_file"])
        amqp_url, username, password, vhost = _read(path)
        credentials = f"those in {path}"
    elif not username:
        # What RabbitMQ is installed with, and takes from the same host alone.
        username, password, credentials = "guest", "guest", f"none in pillar {ROOT}"
    parts = urlsplit(amqp_url)
    return Config(
        management_url=values["management_url"].rstrip("/"),
        host=parts.hostname or "",
        port=parts.port or PORTS[parts.scheme],
        is_encrypted=parts.scheme == "amqps",
        vhost=values["vhost"] or vhost or "/",
        username=username,
        password=password,
        directory=Path(values["directory"]),
        timeout=values["timeout"],
        credentials=credentials,
    )


def _together(values: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with settings that are right one by one."""
    problems = []
    if urlsplit(values["amqp_url"]).path.strip("/"):
        problems.append(f"{ROOT}:amqp_url must end after the port: put the virtual host into {ROOT}:vhost")
    if bool(values["username"]) != bool(values["password"]):
        missing = "password" if values["username"] else "username"
        problems.append(f"{ROOT}:{missing} is not set, and RabbitMQ needs both: set it, or name a {ROOT}:url_file")
    elif values["username"] and values["url_file"]:
        problems.append(f"{ROOT}:url_file and {ROOT}:username are both set: keep one of them")
    return problems


def _read(path: Path) -> tuple[str, str, str, str | None]:
    """Return the address, the user, the password and the virtual host in a file that holds one AMQP address."""
    setting = f"{ROOT}:url_file {path}"
    try:
        if path.stat().st_mode & 0o077:
            raise KingfisherError(f"{setting} can be read by others: chmod 600 {path}, and change the password")
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not text"
        raise KingfisherError(f"{setting} cannot be read: {reason}: correct it, and rerun") from e
    wrong = KingfisherError(f"{setting} must hold one line like amqp://USER:PASSWORD@localhost:5672/%2F")
    if "\n" in text or _amqp(text):
        raise wrong
    parts = urlsplit(text)
    if not parts.username or not parts.password:
        raise wrong
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return address, unquote(parts.username), unquote(parts.password), unquote(parts.path[1:]) or None
