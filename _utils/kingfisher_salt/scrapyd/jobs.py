"""The jobs that Scrapyd knows, and what they were scheduled with."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from .. import settings
from ..errors import KingfisherError
from ..reprs import NotClosedError, entries, evaluate
from .client import Client
from .logs import WINDOWS, Logs
from .processes import CrawlProcess, own_settings

STATES = ("pending", "running", "finished")
#: More names than that do not help anyone who looks for one.
_MANY_NAMES = 20
#: What a job, a project and a spider may be called: one component of a path, as Scrapyd makes a path of them.
_NAME = re.compile(r"[^/\x00-\x1f\x7f]{1,200}")


@dataclass(frozen=True)
class Job:
    """A job in one of the lists. What Scrapyd does not tell of a job in that list is None or empty."""

    id: str
    project: str
    spider: str
    state: str
    version: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    pid: int | None = None
    start_time: str | None = None
    end_time: str | None = None


def read_jobs(client: Client) -> list[Job]:
    """Return all jobs: pending in the order in which they will start, running, finished with the newest first."""
    listing = client.list_jobs()
    return [_job(state, entry) for state in STATES for entry in listing[state]]


def _job(state: str, entry: Mapping[str, Any]) -> Job:
    return Job(
        id=str(entry["id"]),
        project=str(entry["project"]),
        spider=str(entry["spider"]),
        state=state,
        version=entry.get("version"),
        arguments=entry.get("args") or {},
        settings=entry.get("settings") or {},
        pid=entry.get("pid"),
        start_time=entry.get("start_time"),
        end_time=entry.get("end_time"),
    )


def seconds_since(text: str | None) -> float:
    """Return the seconds since a time of Scrapyd's, which is in the time zone of its host."""
    try:
        return (datetime.now() - datetime.fromisoformat(text or "")).total_seconds()  # noqa: DTZ005
    except ValueError:
        return 0


def show(client: Client, job: Job) -> dict[str, Any]:
    """Return a job for people."""
    shown: dict[str, Any] = {"job": job.id, "project": job.project, "spider": job.spider, "state": job.state}
    if job.state == "pending":
        shown |= {"version": job.version, "arguments": dict(job.arguments), "settings": dict(job.settings)}
    if job.state == "running":
        shown["pid"] = job.pid
    if job.state != "pending":
        shown |= {"start_time": job.start_time, "log": client.log_url(job.project, job.spider, job.id)}
    if job.state == "finished":
        shown["end_time"] = job.end_time
    return shown


def listing(
    client: Client, *, state: str | None, project: str | None, spider: str | None, limit: int
) -> dict[str, Any]:
    """Return jobs by state, and how many of each there are. Of the finished ones, the newest."""
    if state not in (None, *STATES):
        raise KingfisherError(f"argument state must be one of {', '.join(STATES)}, not {state!r}")
    found = [
        job
        for job in read_jobs(client)
        if project in (None, job.project) and spider in (None, job.spider) and state in (None, job.state)
    ]
    result: dict[str, Any] = {"total": {}}
    for name in STATES if state is None else (state,):
        chosen = [job for job in found if job.state == name]
        result["total"][name] = len(chosen)
        result[name] = [show(client, job) for job in (chosen[:limit] if name == "finished" else chosen)]
    return result


def find(client: Client, job_id: str, logs_directory: Path | None = None) -> Job:
    """
    Return a job, which may be one that Scrapyd has forgotten, if its log is on this host.

    :raises KingfisherError: if it is unknown
    """
    known = read_jobs(client)
    for job in known:
        if job.id == job_id:
            return job
    if logs_directory and is_name(job_id):
        for project in sorted(logs_directory.iterdir() if logs_directory.is_dir() else ()):
            for log in project.glob("*/*.log"):
                if log.name == f"{job_id}.log":
                    return Job(job_id, project.name, log.parent.name, "forgotten")
    raise KingfisherError(
        f"job {job_id} is unknown to {client.config.place}{_near(job_id, [job.id for job in known], 'scrapyd.jobs')}"
    )


def is_name(name: str) -> bool:
    """Return whether a name is fit for a project, spider or job. Another one would cost Scrapyd a slot, for good."""
    return _NAME.fullmatch(name) is not None and name not in (".", "..")


def the_project(client: Client, given: str | None) -> str:
    """
    Return the project that was given, else the one in pillar, else the only one.

    :raises KingfisherError: if it is unknown, or must be named
    """
    known = client.projects()
    project = given or client.config.project
    if project is None:
        if len(known) == 1:
            return known[0]
        raise KingfisherError(
            f"{client.config.place} has {len(known)} projects: name one as argument project or in pillar "
            f"scrapyd:project (known: {', '.join(known)})"
        )
    if project not in known:
        place = "argument project" if given else "scrapyd:project"
        raise KingfisherError(f"{place}: project {project} is unknown{_near(project, known, 'scrapyd.projects')}")
    return project


def check_version(client: Client, project: str, version: str) -> None:
    known = client.versions(project)
    if version not in known:
        raise KingfisherError(
            f"argument version: project {project} has no version {version}"
            f"{_near(version, known, f'scrapyd.versions {project}')}"
        )


def check_spider(client: Client, project: str, spider: str, version: str | None) -> None:
    known = client.spiders(project, version)
    if spider not in known:
        raise KingfisherError(
            f"argument spider: project {project} has no spider {spider}"
            f"{_near(spider, known, f'scrapyd.spiders {project}')}"
        )


def _near(name: str, known: list[str], command: str) -> str:
    if not known:
        return " (there is none)"
    told = settings.nearest(name, known)
    return told if "?" in told or len(known) <= _MANY_NAMES else f": see {command}"


def known_arguments(job: Job, processes: Mapping[str, CrawlProcess], logs: Logs) -> Mapping[str, str] | None:
    """
    Return the arguments of a pending or running job, or None if they cannot be had.

    Scrapyd tells those of pending jobs alone. Those of a running one are on its command line, if it runs on this host;
    else in the line "Spider arguments" of its log, which Kingfisher Collect's spiders write.
    """
    if job.state == "pending":
        return job.arguments
    if process := processes.get(job.id):
        return process.arguments
    from_log = _arguments_from_log(job, logs)
    return None if from_log is None else {k: v for k, v in from_log.items() if not k.startswith("_")}


def _arguments_from_log(job: Job, logs: Logs) -> dict[str, str] | None:
    head = logs.head(job.project, job.spider, job.id, WINDOWS[1])
    return None if head is None else arguments_in(head)


def arguments_in(head: bytes) -> dict[str, str] | None:
    """Return the spider arguments that the head of a log tells, those that are not set left out, or None."""
    match = re.search(rb"\] INFO: Spider arguments: (?=\{)", head)
    if not match:
        return None
    found = {}
    try:
        for key, source in entries(head[match.end() :]):
            value = evaluate(source)
            if value is not None and value != "":
                found[key.decode()] = value if isinstance(value, str) else str(value)
    except (NotClosedError, ValueError):
        return None
    return found


def same_arguments(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Return whether two crawls of a spider would collect the same. A note is for people, and makes no difference."""
    return _essence(one) == _essence(other)


def _essence(arguments: Mapping[str, str]) -> dict[str, str]:
    return {
        key: re.sub(r"[ T]00:00:00$", "", value).replace(" ", "T") if key == "crawl_time" else value
        for key, value in arguments.items()
        if key != "note" and value != ""
    }


def priorities(directory: Path | None, project: str) -> dict[str, float]:
    """Return the priorities of pending jobs, which Scrapyd's API does not tell, from its database on this host."""
    if not directory or not is_name(project) or not (path := directory / f"{project}.db").is_file():
        return {}
    return dict(_read_priorities(path))


def _read_priorities(path: Path) -> Iterator[tuple[str, float]]:
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            rows = connection.execute("SELECT message, priority FROM spider_queue").fetchall()
        finally:
            connection.close()
    except sqlite3.Error as e:
        raise KingfisherError(
            f"{path} cannot be read ({e}): correct scrapyd:databases_directory, or remove that setting"
        ) from e
    for message, priority in rows:
        yield json.loads(bytes(message))["_job"], float(priority)


def original_settings(job: Job, process: CrawlProcess | None) -> dict[str, str]:
    """Return the settings that a job was scheduled with, as far as they can be had."""
    if job.state == "pending":
        return dict(job.settings)
    return own_settings(process.settings, job.project, job.spider, job.id) if process else {}
