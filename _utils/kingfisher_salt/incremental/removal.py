"""Remove all incremental crawls of a server, whose section has left pillar, by what is installed."""

from __future__ import annotations

import pwd
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import KingfisherError
from . import installed, sync
from .config import IDENTIFIER, Config

ENVIRONMENT = "environment"


def remove_all(program_directory: Path, *, dry_run: bool = False) -> sync.Plan:
    """
    Remove scripts, settings and grants of the crawls, and the library and variables that they share.

    Data, logs and tables are kept. A crawl that is running fails, and keeps what it needs.

    :raises KingfisherError: if something cannot be done
    """
    todo = sync.Plan()
    if not program_directory.is_dir():
        return todo
    config = _place(program_directory)
    there = dict(sync.installed_crawls(config))
    sync.compare_grants(config, there, todo)
    for identifier, values in sorted(there.items()):
        sync.remove(config, identifier, values, todo)
    todo.shared["library"] = {"old": str(program_directory), "new": None}
    if not dry_run:
        sync.carry_out(config, todo)
        if not todo.failed:
            _remove_shared(program_directory)
    return todo


def _remove_shared(directory: Path) -> None:
    try:
        shutil.rmtree(directory / "lib", ignore_errors=True)
        (directory / ENVIRONMENT).unlink(missing_ok=True)
        for path in (directory / "crawls", directory):
            with suppress(OSError):  # somebody else's files stay
                path.rmdir()
    except OSError as e:
        raise KingfisherError(f"{e.filename}: {e.strerror}: correct it, and run this again") from e


def _place(directory: Path) -> Config:
    """Return the settings with which the crawls were installed, as far as removing them needs them."""
    values: dict[str, Any] = {}
    for path in sorted((directory / "crawls").glob(f"*/{installed.SETTINGS}")):
        if IDENTIFIER.fullmatch(path.parent.name):
            with suppress(KingfisherError):
                values = installed.read(path)
    file = directory / ENVIRONMENT
    try:
        user = pwd.getpwuid(file.stat().st_uid).pw_name
        environment = installed.read_environment(file)
    except (OSError, KeyError):  # the user is not there anymore, or nothing was installed yet
        user, environment = "root", {}
    home = Path(values.get("directory") or "/nonexistent")
    return Config(
        user=user,
        directory=home,
        program_directory=directory,
        checkout=Path(values.get("checkout") or home),
        virtualenv=Path(values.get("scrapy") or home).parent.parent,
        database=values.get("database") or {},
        cardinal=None,
        cron={},
        environment=environment,
        crawls=(),
    )
