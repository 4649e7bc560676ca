"""What is put onto the server for a crawl: the text of its settings, its script, and its line of the schedule."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

from ..errors import KingfisherError
from .config import IDENTIFIER, Config, Crawl

SETTINGS, SCRIPT = "crawl.json", "run"
MARK = "Managed by Salt: kingfisher/collect/incremental. Edit python_apps:kingfisher_collect in pillar instead."


def identifiers(config: Config) -> list[str]:
    """Return the crawls that Salt installed, though a part of one may be missing."""
    directory = config.program_directory / "crawls"
    return sorted(
        name
        for name in (os.listdir(directory) if directory.is_dir() else ())  # noqa: PTH208
        if IDENTIFIER.fullmatch(name)
        and (os.path.lexists(directory / name / SETTINGS) or os.path.lexists(directory / name / SCRIPT))
    )


def settings(config: Config, crawl: Crawl) -> dict[str, Any]:
    """Return all that a run needs to know, without a secret."""
    return {
        "": MARK,
        "identifier": crawl.identifier,
        "spider": crawl.spider,
        "crawl_time": crawl.crawl_time,
        "spider_arguments": crawl.arguments,
        "settings": crawl.settings,
        "cardinal": config.cardinal if crawl.cardinal else None,
        "users": list(crawl.users),
        "schedule": times(config, crawl),
        "directory": str(config.directory),
        "checkout": str(config.checkout),
        "scrapy": str(config.virtualenv / "bin" / "scrapy"),
        "environment_file": str(config.program_directory / "environment"),
        "database": config.database,
    }


def text(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def read(path: Path) -> dict[str, Any]:
    """
    Return the settings of an installed crawl.

    :raises KingfisherError: if they cannot be read
    """
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {**values, "identifier": str(values["identifier"])}
    except (OSError, ValueError, KeyError, TypeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not what Salt wrote"
        raise KingfisherError(f"{path} cannot be read: {reason}: salt 'ID' state.apply kingfisher.collect") from e


def crawl(values: dict[str, Any]) -> Crawl:
    """Return the crawl that settings describe."""
    return Crawl(
        identifier=values["identifier"],
        spider=values["spider"],
        crawl_time=values["crawl_time"],
        arguments=values["spider_arguments"],
        settings=values["settings"],
        cardinal=values["cardinal"] is not None,
        users=tuple(values["users"]),
    )


def script(config: Config, crawl: Crawl) -> str:
    """Return the script that the schedule calls. The spiders' Python has psycopg2, since DatabaseStore needs it."""
    words = [
        config.virtualenv / "bin" / "python",
        config.program_directory / "lib" / "run.py",
        config.installed(crawl.identifier) / SETTINGS,
    ]
    return f'#!/bin/sh\n# {MARK}\nexec {shlex.join(map(str, words))} "$@"\n'


def times(config: Config, crawl: Crawl) -> str:
    """Return when a crawl runs, as in crontab(5)."""
    return f"{config.cron['minute']} {config.cron['hour']} {crawl.day or '*'} * *"


def schedule(config: Config) -> str:
    """
    Return a file for /etc/cron.d, with a line for each crawl.

    Only paths are in a line. A percent sign, which would end the command, is escaped as crontab(5) has it.
    """
    lines = [f"# {MARK}", "# A run prints nothing, and so no mail is sent, unless it fails."]
    if config.cron["mailto"]:
        lines.append(f"MAILTO={config.cron['mailto']}")
    for each in config.crawls:
        command = shlex.quote(str(config.installed(each.identifier) / SCRIPT)).replace("%", "\\%")
        lines.append(f"{times(config, each)} {config.user} {command}")
    return "\n".join(lines) + "\n"


def environment(config: Config) -> str:
    """Return the file of environment variables, which a shell can read too. It has secrets."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in sorted(config.environment.items()))


def read_environment(path: Path) -> dict[str, str]:
    """
    Return the variables of :func:`environment`.

    :raises KingfisherError: if the file cannot be read
    """
    try:
        words = shlex.split(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not what Salt wrote"
        raise KingfisherError(f"{path} cannot be read: {reason}: salt 'ID' state.apply kingfisher.collect") from e
    return dict(word.split("=", 1) for word in words)
