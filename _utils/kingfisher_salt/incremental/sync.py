"""
Make the server's incremental crawls those of pillar: what is missing, what differs, what is no longer there.

The whole list is compared at once, and only what differs is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import settings
from ..errors import KingfisherError
from . import database, installed, lock, person
from .config import ROOT, Config, Crawl
from .files import Managed

_RUNNER = f'''\
"""{installed.MARK}"""

import sys

from kingfisher_salt.incremental.run import main

sys.exit(main(sys.argv[1:]))
'''
#: What a crawl is described by, in changes.
_SHOWN = ("spider", "crawl_time", "spider_arguments", "settings", "cardinal", "users", "schedule")
#: What a run leaves behind in its directory of the crawl's user, apart from data and logs.
_LEFT_BEHIND = ("last.json", ".last.json", "lock", "by-hand.txt", "cardinal")

Change = dict[str, Any]
Grants = set[tuple[str, str]]


@dataclass
class Plan:
    """What differs between pillar and the server."""

    #: By identifier: ``old`` and ``new``, with what differs. One of them is None if the crawl is added or removed.
    crawls: dict[str, Change] = field(default_factory=dict)
    #: The same for what all crawls share: library, environment and schedule.
    shared: dict[str, Change] = field(default_factory=dict)
    #: By identifier: what stays of a crawl that is removed.
    kept: dict[str, list[str]] = field(default_factory=dict)
    #: By identifier: why a crawl cannot be added, changed or removed yet.
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    #: Whether nothing is to be scheduled.
    halted: bool = False

    write: list[Managed] = field(default_factory=list)
    remove: list[Path] = field(default_factory=list)
    make: list[Path] = field(default_factory=list)
    clear: list[Path] = field(default_factory=list)
    grant: Grants = field(default_factory=set)
    revoke: Grants = field(default_factory=set)

    def asdict(self) -> dict[str, Any]:
        """Return what is told of it. What is to be done to which file is not."""
        return {name: getattr(self, name) for name in ("crawls", "shared", "kept", "failed", "notes")}


def plan(config: Config, library: Path, notes: list[str], *, halted: bool = False) -> Plan:
    """
    Compare, and write nothing.

    :param library: the package ``kingfisher_salt`` that is in use
    :param notes: what could not be checked
    :param halted: whether nothing is to be scheduled, by ``maintenance:halted``
    :raises KingfisherError: with every problem that is found outside pillar
    """
    found = Plan(notes=list(notes), halted=halted)
    try:
        entry = person.entry(config.user)
    except person.NoSuchUserError:
        uid, gid = os.geteuid(), os.getegid()  # in test mode, before the user is made
    else:
        uid, gid = entry.pw_uid, entry.pw_gid
    there = dict(installed_crawls(config))
    compare_grants(config, there, found)
    _compare_shared(config, library, uid, gid, found)
    running = {
        identifier: installed.crawl(old) for identifier, old in there.items() if old and _runs(config, identifier)
    }
    for crawl in config.crawls:
        if other := next((each for each in running.values() if _collides(crawl, each)), None):
            found.failed[crawl.identifier] = (
                f"{crawl.identifier} writes where {other.identifier} does, which is running: it is left as it is "
                "until this is applied after the end of that"
            )
        else:
            _compare_crawl(config, crawl, there.get(crawl.identifier), gid, found)
    for identifier in sorted(there.keys() - {crawl.identifier for crawl in config.crawls}):
        remove(config, identifier, there[identifier], found)
    _compare_schedule(config, found.failed.keys() - there.keys(), found)
    return found


def apply(config: Config, todo: Plan, library: Path) -> None:
    """
    Do what was planned, and compare again: what still differs is ``failed``. Interrupted, it can be done again.

    :raises KingfisherError: if something cannot be done
    """
    carry_out(config, todo)
    if todo.crawls or todo.shared:
        left = plan(config, library, [], halted=todo.halted)
        todo.failed |= {name: f"{name} was changed, and still differs" for name in {**left.shared, **left.crawls}}


def carry_out(config: Config, todo: Plan) -> None:
    """
    Do what was planned.

    :raises KingfisherError: if something cannot be done
    """
    try:
        if todo.grant or todo.revoke:
            with _connection(config) as connection:
                database.revoke(connection, todo.revoke)
                database.grant(connection, todo.grant)
        person.on_each(config.user, ["mkdir", "-p"], todo.make)
        for file in todo.write:
            file.write()
        for path in todo.remove:
            path.unlink(missing_ok=True)
            if path.name == installed.SETTINGS:
                with suppress(OSError):  # somebody else's files stay
                    path.parent.rmdir()
        person.on_each(config.user, ["rm", "-rf"], [path / name for path in todo.clear for name in _LEFT_BEHIND])
        person.on_each(config.user, ["rmdir", "--ignore-fail-on-non-empty"], [p for p in todo.clear if p.is_dir()])
    except OSError as e:
        raise KingfisherError(f"{e.filename}: {e.strerror}: correct it, and run this again") from e


def installed_crawls(config: Config) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the crawls that Salt installed, with their settings, which are empty if they are damaged."""
    for name in installed.identifiers(config):
        try:
            yield name, installed.read(config.installed(name) / installed.SETTINGS)
        except KingfisherError:
            yield name, {}


def compare_grants(config: Config, there: dict[str, dict[str, Any]], found: Plan) -> None:
    """Compare who may read which table, with those that there are. Only what is ours is revoked."""
    old = {
        (table, user)
        for values in there.values()
        if values.get("users")
        for table in installed.crawl(values).tables
        for user in values["users"]
    }
    new = {(table, user) for crawl in config.crawls for table in crawl.tables for user in crawl.users}
    if not old and not new:
        return
    users = {user for _, user in new}
    with _connection(config) as connection:
        missing = database.missing_roles(connection, users)
        settings.fail(
            [
                f"{ROOT}:crawls:{number}:users: there is no PostgreSQL role {user} at "
                f"{database.url(config.database)}: create it, or correct the name"
                for number, crawl in enumerate(config.crawls)
                for user in crawl.users
                if user in missing
            ]
        )
        tables = {table for table, _ in old | new}
        there_are = database.existing(connection, tables)
        granted = database.granted(connection, tables)
        lacking = database.shut_out(connection, users)
    found.grant = {(table, user) for table, user in new if table in there_are} - granted
    found.revoke = (old - new) & granted
    found.notes += [
        f"{user} lacks {what} {config.database['name']}, which its owner or a superuser has to grant."
        for user, what in sorted(lacking.items())
    ]


def _connection(config: Config) -> Any:
    secrets, default = {}, Path("/nonexistent")
    if password := config.environment.get("PGPASSWORD"):
        secrets["password"] = password
    with suppress(person.NoSuchUserError):
        default = Path(person.entry(config.user).pw_dir, ".pgpass")
    passfile = config.environment.get("PGPASSFILE") or str(default)
    if os.access(passfile, os.R_OK):
        secrets["passfile"] = passfile
    return database.connect(config.database, **secrets)


def _compare_shared(config: Config, library: Path, uid: int, gid: int, found: Plan) -> None:
    root = os.geteuid()
    lib = config.program_directory / "lib"
    sources = [*library.glob("*.py"), *(library / "incremental").glob("*.py")]
    wanted = [Managed(lib / "run.py", _RUNNER.encode(), 0o640, root, gid)]
    wanted += [
        Managed(lib / library.name / source.relative_to(library), source.read_bytes(), 0o640, root, gid)
        for source in sources
    ]
    stale = sorted(set(lib.rglob("*.py")) - {file.path for file in wanted})
    changed = [file for file in wanted if file.differs()]
    if changed or stale:
        names = sorted(str(path.relative_to(lib)) for path in [*stale, *(file.path for file in changed)])
        if (lib / "run.py").exists():
            found.shared["library"] = {"old": "another version", "new": f"{len(names)} files: {', '.join(names)}"}
        else:
            found.shared["library"] = {"old": None, "new": str(lib)}
    found.write += changed
    found.remove += stale

    secret = Managed(config.program_directory / "environment", installed.environment(config).encode(), 0o600, uid, gid)
    if secret.differs():
        found.shared["environment"] = {"old": "**" if secret.path.exists() else None, "new": "**"}
        found.write.append(secret)


def _runs(config: Config, identifier: str) -> dict[str, Any] | None:
    return lock.holder(config.state(identifier) / "lock")


def _collides(crawl: Crawl, other: Crawl) -> bool:
    """Whether two crawls of different names have a table or a crawl directory in common."""
    same = crawl.table == other.table or crawl.relative_directory == other.relative_directory
    return same and crawl.identifier != other.identifier


def _compare_schedule(config: Config, without: AbstractSet[str], found: Plan) -> None:
    """Compare the schedule, which is written when all that it calls is there."""
    config = replace(config, crawls=tuple(crawl for crawl in config.crawls if crawl.identifier not in without))
    cron = Path(config.cron["file"])
    if config.crawls and found.halted:
        found.notes.append("Nothing is scheduled, since maintenance:halted is True in pillar.")
    if config.crawls and not found.halted:
        # crontab(5): owned by root, and writable by nobody else.
        schedule = Managed(cron, installed.schedule(config).encode(), 0o644, os.geteuid(), os.getegid())
        if schedule.differs():
            found.shared["schedule"] = {"old": _lines(cron), "new": len(config.crawls)}
            found.write.append(schedule)
    elif cron.exists():
        found.shared["schedule"] = {"old": _lines(cron), "new": None}
        found.remove.append(cron)


def _lines(cron: Path) -> int | None:
    """Return how many crawls are in the schedule."""
    try:
        return sum(line[:1].isdigit() for line in cron.read_text(encoding="utf-8", errors="replace").splitlines())
    except OSError:
        return None


def _compare_crawl(config: Config, crawl: Crawl, old: dict[str, Any] | None, gid: int, found: Plan) -> None:
    root = os.geteuid()
    directory = config.installed(crawl.identifier)
    values = installed.settings(config, crawl)
    wanted = (
        Managed(directory / installed.SETTINGS, installed.text(values).encode(), 0o640, root, gid),
        Managed(directory / installed.SCRIPT, installed.script(config, crawl).encode(), 0o750, root, gid),
    )
    changed = [file for file in wanted if file.differs()]
    missing = [path for path in _directories(config, crawl) if not path.is_dir()]
    readers = {user for table, user in found.grant if table in crawl.tables}
    found.write += changed
    found.make += missing
    if old is None:
        found.crawls[crawl.identifier] = {"old": None, "new": {name: values[name] for name in _SHOWN if values[name]}}
        return
    before, after = {}, {}
    for name in sorted(values.keys() | old.keys()):
        if values.get(name) != old.get(name):
            before[name], after[name] = old.get(name), values.get(name)
    if changed and not after:
        names = ", ".join(file.path.name for file in changed)
        before["files"], after["files"] = f"{names} differed", f"{names} as Salt writes it"
    if missing:
        before["directories"], after["directories"] = None, [str(path) for path in missing]
    if readers:
        before["readers"], after["readers"] = None, sorted(readers)
    if after:
        found.crawls[crawl.identifier] = {"old": before, "new": after}


def _directories(config: Config, crawl: Crawl) -> list[Path]:
    return [
        config.directory / "data" / crawl.spider,
        config.directory / "logs" / crawl.spider,
        config.state(crawl.identifier),
    ]


def remove(config: Config, identifier: str, old: dict[str, Any], found: Plan) -> None:
    if who := _runs(config, identifier):
        found.failed[identifier] = (
            f"{identifier} is no longer in pillar, and is running, as process {who.get('pid')}: its schedule is "
            "removed, and the rest when this is applied after its end"
        )
        return
    directory = config.installed(identifier)
    found.crawls[identifier] = {"old": {name: old[name] for name in _SHOWN if old.get(name)}, "new": None}
    found.remove += [directory / installed.SCRIPT, directory / installed.SETTINGS]
    found.clear.append(config.state(identifier))
    if old:
        crawl = installed.crawl(old)
        home = config.directory
        found.kept[identifier] = [
            str(home / "data" / crawl.spider),
            str(home / "logs" / crawl.spider),
            *(f"table {table}" for table in crawl.tables),
        ]
