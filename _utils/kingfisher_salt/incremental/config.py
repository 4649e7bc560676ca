"""The settings of incremental crawls: pillar ``python_apps:kingfisher_collect``, and its list ``crawls``."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from .. import settings
from ..settings import REQUIRED, Key, nearest, positive
from .arguments import ArgumentsError, parse

ROOT = "python_apps:kingfisher_collect"

IDENTIFIER = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
_SETTING = re.compile(r"[A-Z][A-Z0-9_]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TABLE = re.compile(r"[a-z_][a-z0-9_]*")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_ROLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]*")
#: What PostgreSQL does not take as a role's name. https://www.postgresql.org/docs/current/sql-createrole.html
_NO_ROLES = frozenset({"public", "none", "current_role", "current_user", "session_user", "user"})
#: PostgreSQL cuts off longer names, silently. Ours add ``_result`` to a table's, and ``idx_`` and ``_clean``.
_TABLE_LENGTH, _ROLE_LENGTH = 63 - len("idx__clean"), 63

#: What a run sets itself: a crawl that set them too would store, or log, where nobody looks.
OUR_SETTINGS = {
    "FILES_STORE": f"{ROOT}:directory decides",
    "DATABASE_URL": f"{ROOT}:database decides",
    "LOG_FILE": f"{ROOT}:directory decides",
    "LOG_ENABLED": "the log tells whether a crawl finished",
    "LOG_LEVEL": "the log tells whether a crawl finished",
}
OUR_ARGUMENTS = {
    "crawl_time": "it has a key of its own",
    "name": "spider decides",
    "sample": "an incremental crawl stores all that there is",
}


def _absolute(value: str) -> str | None:
    return None if Path(value).is_absolute() and ".." not in Path(value).parts else "must be an absolute path"


def _within(first: int, last: int) -> Any:
    return lambda value: None if first <= value <= last else f"must be from {first} to {last}"


def _user(value: str) -> str | None:
    return None if _USER.fullmatch(value) else "must be the name of a user of this server"


def _one_line(value: str) -> str | None:
    return None if value.isprintable() else "must be on one line"


def _identifier(value: str) -> str | None:
    if IDENTIFIER.fullmatch(value):
        return None
    return "must be in upper case, with words separated by _, like DOMINICAN_REPUBLIC"


def _date(value: str | date) -> str | None:
    wrong = "must be a date like '2025-05-06'"
    if isinstance(value, date):
        return wrong if isinstance(value, datetime) else None
    try:
        return None if datetime.strptime(value, "%Y-%m-%d").strftime("%Y-%m-%d") == value else wrong  # noqa: DTZ007
    except ValueError:
        return wrong


def _day(value: int) -> str | None:
    if 1 <= value <= 28:
        return None
    return "must be from 1 to 28, the days that every month has (on another, the crawl would be left out in some)"


DATABASE = {
    "host": Key(default="localhost"),
    "port": Key((int,), 5432, positive),
    "name": Key(default="kingfisher_collect"),
    "user": Key(default="kingfisher_collect"),
    "password": Key(secret=True),
    "passfile": Key(check=_absolute),
    "connect_timeout": Key((int,), 10, positive),
}
CARDINAL = {"binary": Key(default=REQUIRED, check=_absolute), "settings_directory": Key(check=_absolute)}
CRON = {
    "file": Key(default="/etc/cron.d/kingfisher-incremental", check=_absolute),
    "hour": Key((int,), 0, _within(0, 23)),
    "minute": Key((int,), 15, _within(0, 59)),
    "mailto": Key(check=_one_line),
}
GIT = {"url": Key(), "branch": Key(), "target": Key(default="kingfisher-collect")}
SCHEMA = {
    "user": Key(default=REQUIRED, check=_user),
    "git": Key((dict,), {}, keys=GIT),
    "crawls": Key((list,), ()),
    "directory": Key(check=_absolute),
    "program_directory": Key(default="/opt/kingfisher-incremental", check=_absolute),
    "virtualenv": Key(check=_absolute),
    "database": Key((dict,), {}, keys=DATABASE),
    "cardinal": Key((dict,), None, keys=CARDINAL),
    "cron": Key((dict,), {}, keys=CRON),
    "env": Key((dict,), {}, secret=True),
    # What other states of this application may need.
    "config": Key((dict,), {}),
}
CRAWL = {
    "identifier": Key(default=REQUIRED, check=_identifier),
    "spider": Key(default=REQUIRED),
    "crawl_time": Key((str, date), REQUIRED, _date),
    "spider_arguments": Key(default=""),
    "settings": Key((dict,), {}),
    "cardinal": Key((bool,), False),
    "users": Key((list,), ()),
    "day": Key((int,), None, _day),
}


@dataclass(frozen=True)
class Crawl:
    """One incremental crawl."""

    identifier: str
    spider: str
    #: A date, like 2025-05-06.
    crawl_time: str
    arguments: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    cardinal: bool = False
    users: tuple[str, ...] = ()
    day: int | None = None

    @property
    def table(self) -> str:
        """The table, as Kingfisher Collect's ``DatabaseStore.get_table_name`` has it."""
        return self.arguments.get("table_name") or self.spider

    @property
    def relative_directory(self) -> str:
        """The crawl directory in FILES_STORE, as ``FilesStore.relative_crawl_directory`` has it."""
        return f"{self.spider}/{self.crawl_time.replace('-', '')}_000000"

    @property
    def tables(self) -> tuple[str, ...]:
        """The tables that a run makes."""
        return (self.table, f"{self.table}_clean", f"{self.table}_result") if self.cardinal else (self.table,)


@dataclass(frozen=True)
class Config:
    """Settings that were checked."""

    user: str
    directory: Path
    program_directory: Path
    checkout: Path
    virtualenv: Path
    database: dict[str, Any]
    cardinal: dict[str, Any] | None
    cron: dict[str, Any]
    #: Environment variables of a run, with secrets among them.
    environment: dict[str, str]
    crawls: tuple[Crawl, ...]

    def installed(self, identifier: str) -> Path:
        """Return the directory of a crawl's script and settings, which only root may write to."""
        return self.program_directory / "crawls" / identifier

    def state(self, identifier: str) -> Path:
        """Return the directory of what a crawl's runs leave behind."""
        return self.directory / "runs" / identifier

    def crawl(self, identifier: str) -> Crawl | None:
        return next((crawl for crawl in self.crawls if crawl.identifier == identifier), None)


def load(pillar: Mapping[str, Any], spiders: Collection[str] | None) -> tuple[Config | None, list[str]]:
    """
    Check pillar ``python_apps:kingfisher_collect``, without touching the outside world.

    :param spiders: the spiders of the checkout; None if there is no checkout yet, so that they are not checked
    :returns: the settings, if they can be used, and the problems
    """
    values, problems = settings.read(SCHEMA, pillar, {}, ROOT)
    crawls = _crawls(values["crawls"], spiders, problems)
    if values["cardinal"] is None and any(crawl.cardinal for crawl in crawls):
        problems.append(f"{ROOT}:cardinal:binary is not set, and a crawl has cardinal: True")
    environment = _environment(values["env"], problems)
    if problems:
        return None, problems
    if password := values["database"].pop("password"):
        environment["PGPASSWORD"] = password
    if values["database"]["passfile"]:
        environment["PGPASSFILE"] = values["database"]["passfile"]
    directory = Path(values["directory"] or f"/home/{values['user']}")
    checkout = directory / values["git"]["target"]
    return Config(
        user=values["user"],
        directory=directory,
        program_directory=Path(values["program_directory"]),
        checkout=checkout,
        virtualenv=Path(values["virtualenv"] or checkout / ".ve"),
        database=values["database"],
        cardinal=values["cardinal"],
        cron=values["cron"],
        environment=environment,
        crawls=tuple(crawls),
    ), []


def _crawls(entries: Any, spiders: Collection[str] | None, problems: list[str]) -> list[Crawl]:
    """Return the crawls that are right by themselves, and add what is wrong with the others, and among them."""
    crawls: dict[int, Crawl] = {}
    for number, entry in enumerate(entries if isinstance(entries, (list, tuple)) else ()):
        if crawl := _crawl(entry, f"{ROOT}:crawls:{number}", spiders, problems):
            crawls[number] = crawl
    seen: dict[tuple[str, str], int] = {}
    for number, crawl in crawls.items():
        place = f"{ROOT}:crawls:{number}"
        for kind, value, what in (
            ("identifier", crawl.identifier, f"identifier {crawl.identifier} is"),
            ("table", crawl.table, f"spider: its table {crawl.table} is"),
            ("directory", crawl.relative_directory, f"crawl_time: its crawl directory {crawl.relative_directory} is"),
        ):
            first = seen.setdefault((kind, value), number)
            if first == number:
                continue
            cure = {
                "identifier": "give it another",
                "table": "add -a table_name=NAME to its spider_arguments",
                "directory": "give it another date",
            }[kind]
            problems.append(f"{place}:{what} that of {ROOT}:crawls:{first} too: {cure}")
            if kind == "identifier":
                break
    return list(crawls.values())


def _crawl(entry: Any, place: str, spiders: Collection[str] | None, problems: list[str]) -> Crawl | None:
    found: list[str] = []
    values, wrong = settings.read(CRAWL, entry, {}, place)
    found += wrong
    spider, arguments = values["spider"], {}
    if isinstance(spider, str):
        if spiders is not None and spider not in spiders:
            found.append(f"{place}:spider {spider} is not in the checkout{_nearest(spider, spiders)}")
        elif not _TABLE.fullmatch(spider) or len(spider) > _TABLE_LENGTH:
            found.append(f"{place}:spider must be a spider's name, like dominican_republic_api, not {spider!r}")
    if isinstance(values["spider_arguments"], str):
        try:
            arguments = parse(values["spider_arguments"])
        except ArgumentsError as e:
            found.append(f"{place}:spider_arguments {e}")
        found += [
            f"{place}:spider_arguments may not set {name}: {OUR_ARGUMENTS[name]}"
            for name in arguments
            if name in OUR_ARGUMENTS
        ]
        table = arguments.get("table_name")
        if table and (not _TABLE.fullmatch(table) or len(table) > _TABLE_LENGTH):
            found.append(
                f"{place}:spider_arguments: table_name must have small letters, digits and _, "
                f"{_TABLE_LENGTH} at most, not {table!r}"
            )
    crawl_settings = _settings(values["settings"], f"{place}:settings", found)
    users = _users(values["users"], f"{place}:users", found)
    problems += found
    if found:
        return None
    return Crawl(
        identifier=values["identifier"],
        spider=spider,
        crawl_time=str(values["crawl_time"]),
        arguments=arguments,
        settings=crawl_settings,
        cardinal=values["cardinal"],
        users=users,
        day=values["day"],
    )


def _nearest(name: str, known: Collection[str]) -> str:
    """Return the nearest name; of hundreds of spiders, not all of them."""
    text = nearest(name, known)
    return text if text.startswith(": did") or len(known) <= 10 else f" (it has {len(known)} others: scrapy list)"


def _settings(given: Any, place: str, problems: list[str]) -> dict[str, str]:
    values = {}
    for name, value in given.items() if isinstance(given, Mapping) else ():
        if not isinstance(name, str) or not _SETTING.fullmatch(name):
            problems.append(f"{place}: a Scrapy setting is in upper case, like HTTPPROXY_ENABLED, not {name!r}")
        elif name in OUR_SETTINGS:
            problems.append(f"{place} may not set {name}: {OUR_SETTINGS[name]}")
        elif not isinstance(value, (str, int, float)):
            problems.append(f"{place}:{name} must be text, a number, True or False, not {value!r}")
        elif "\n" in str(value) or "\0" in str(value):
            problems.append(f"{place}:{name} must be on one line")
        else:
            values[name] = str(value)
    return values


def _users(given: Any, place: str, problems: list[str]) -> tuple[str, ...]:
    users: list[str] = []
    for number, name in enumerate(given if isinstance(given, Sequence) and not isinstance(given, str) else ()):
        if not isinstance(name, str) or not _ROLE.fullmatch(name) or len(name) > _ROLE_LENGTH:
            problems.append(f"{place}:{number} must be the name of a PostgreSQL role, like dgcp, not {name!r}")
        elif name.lower() in _NO_ROLES or name.lower().startswith("pg_"):
            problems.append(f"{place}:{number} {name} is PostgreSQL's own: name a role of yours")
        elif name not in users:
            users.append(name)
    return tuple(users)


def _environment(given: Any, problems: list[str]) -> dict[str, str]:
    values = {}
    for name, value in given.items() if isinstance(given, Mapping) else ():
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            problems.append(f"{ROOT}:env: {name!r} cannot be the name of an environment variable")
        elif not isinstance(value, (str, int, float)) or "\0" in str(value):
            problems.append(f"{ROOT}:env:{name} must be text, a number, True or False, not a secret of another type")
        else:
            values[name] = str(value)
    return values
