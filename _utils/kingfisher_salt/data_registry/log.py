"""The logs of a job: the crawl's from Scrapyd, and those of the other tasks from their containers."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..apps.application import Application, plain, without_credentials
from ..apps.process import StillRunningError, run
from ..errors import KingfisherError
from ..scrapyd.client import Client
from ..scrapyd.logs import MOST, Logs, last
from .config import ROOT, Config
from .registry import Registry, check_task

#: The most lines of a log that are returned.
MAX_LINES = 10_000
#: The tasks whose workers are services of the Data Registry's own.
OWN = ("exporter", "flattener")
_LOG_URL = re.compile(r"/logs/(?P<project>[^/]+)/(?P<spider>[^/]+)/(?P<job>[^/]+)\.log$")


def log(
    registry: Registry,
    client: Client,
    logs: Logs,
    others: Mapping[str, Callable[[], Application]],
    job_id: int,
    *,
    task: str,
    lines: int,
) -> str:
    """
    Return the last lines of the log of a job's task, each whole, without the passwords of the addresses in them.

    If they do not fit into MOST bytes, those that do are returned, after a line that says so.

    :param others: the applications that run tasks, other than the Data Registry itself
    :raises KingfisherError: if there is none, or it cannot be read
    """
    check_task(task)
    count = min(lines, MAX_LINES)
    found = registry.trace(job_id)
    if task == "collect":
        return without_credentials(_crawl(found, client, logs, count))
    app = registry.config.app if task in OWN or registry.config.logs else others[task]()
    return without_credentials(_container(registry.config, app, task, count))


def _crawl(found: dict[str, Any], client: Client, logs: Logs, count: int) -> str:
    address = str(found["context"].get("scrapy_log") or "")
    pk = found["job"]["job"]
    match = _LOG_URL.search(urllib.parse.urlsplit(address).path)
    if not match:
        raise KingfisherError(
            f"job {pk} has no scrapy_log in its context, so its crawl was not scheduled yet, or is not known: "
            f"data_registry.job {pk} shows its tasks"
        )
    project, spider, crawl = (urllib.parse.unquote(part) for part in match.groups())
    text = logs.last_lines(project, spider, crawl, count)
    if text is None:
        raise KingfisherError(
            f"{client.config.place} has no log of crawl {crawl}: it is pending, or the log was deleted (jobs_to_keep)"
        )
    return text


def _container(config: Config, app: Application, task: str, count: int) -> str:
    if config.logs:
        command = [word.replace("{task}", task).replace("{lines}", str(count)) for word in config.logs]
        directory: Path | None = config.app.directory
    else:
        if app.manage or not app.directory:
            raise KingfisherError(
                f"the log of {task} cannot be had from Docker, since {app.root}:manage is set: set {ROOT}:logs to a "
                "command, like [journalctl, --unit, 'registry-{task}', --lines, '{lines}']"
            )
        directory = app.directory
        services = [task] if task in OWN else []
        command = ["docker", "compose", "logs", "--no-color", "--tail", str(count), *services]
    setting = f"{ROOT}:logs" if config.logs else f"{app.root}:directory"
    try:
        output = run(command, b"", app.timeout, MOST, {"cwd": directory or "/"})
    except (OSError, StillRunningError) as e:
        why = f"{e.filename}: {e.strerror}" if isinstance(e, OSError) else f"no end within {app.timeout:g} s"
        raise KingfisherError(f"the log of {task} cannot be had ({why}): correct {setting}") from e
    if output.code:
        raise KingfisherError(f"the log of {task} cannot be had ({app.said(output)}): correct {setting}")
    # The first line of an output that was cut is not whole.
    lines = plain(output.stdout).splitlines()[1 if output.cut else 0 :]
    return last(lines, count, within=MOST if output.cut else None)
