"""Schedule a crawl: once, if it is not running already, and never while Scrapyd is drained."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from ..errors import KingfisherError
from . import drainfile, files, jobs
from .client import Client, NoAnswerError
from .jobs import Job
from .logs import Logs
from .processes import CrawlProcess, crawl_processes

#: What Scrapyd takes for something other than a spider argument, or fails upon.
RESERVED = frozenset(
    ("project", "spider", "jobid", "priority", "setting", "settings", "name", "spider_name", "_version", "_job")
)
#: For how long to wait while another call schedules, in seconds, besides Scrapyd's own time.
_LOCK_WAIT = 10


@dataclass(frozen=True)
class Request:
    """A crawl that somebody wants."""

    spider: str
    project: str | None = None
    version: str | None = None
    job: str | None = None
    priority: float | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)


def texts(given: Mapping[str, Any], what: str) -> dict[str, str]:
    """
    Return arguments or settings as the text that Scrapyd takes. What is None is left out.

    :param what: "argument" or "setting", for messages
    :raises KingfisherError: if one is not a text, a number, True or False
    """
    found = {}
    for key, value in given.items():
        name = str(key)
        if what == "argument" and name in RESERVED:
            raise KingfisherError(f"argument {name} cannot be a spider argument: Scrapyd keeps that name for itself")
        if not name or "=" in name or "\0" in name:
            raise KingfisherError(f"{what} {name!r} cannot be passed on: leave out what is no part of a name")
        if value is None:
            continue
        if isinstance(value, date):  # as YAML has it
            value = value.isoformat()  # noqa: PLW2901
        if not isinstance(value, (str, int, float)):
            raise KingfisherError(f"{what} {name} must be text or a number, not {value!r}")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if "\0" in text:
            raise KingfisherError(f"{what} {name} must not have a NUL in it: remove it")
        found[name] = text
    return found


def check_crawl_time(value: str) -> None:
    try:
        datetime.fromisoformat(value)
        good = re.fullmatch(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d)?", value)
    except ValueError:
        good = None
    if not good:
        raise KingfisherError(
            f"argument crawl_time must be a time like 2026-01-31 or 2026-01-31T04:05:06, not {value!r}"
        )


def schedule(
    client: Client, logs: Logs, request: Request, *, unless_running: bool = True, dry_run: bool = False
) -> dict[str, Any]:
    """
    Schedule a crawl.

    :returns: job, project, spider, version, arguments, ``scheduled`` (whether it was, just now), state, log and, if it
        was not, ``reason``
    :raises KingfisherError: if Scrapyd is drained, or anything in the request is unknown
    """
    with _alone(client, dry_run=dry_run):
        refuse_if_drained(client)
        return _schedule(client, logs, request, unless_running=unless_running, dry_run=dry_run)


def schedule_once(client: Client, logs: Logs, name: str, request: Request, *, dry_run: bool = False) -> dict[str, Any]:
    """
    Schedule the crawl of a name, unless it ever was.

    Its job id is made from the name. So what Scrapyd, the drain file and the logs know of it counts, as well as what
    is remembered in ``scheduled_file``.
    """
    with _alone(client, dry_run=dry_run):
        project = jobs.the_project(client, request.project)
        job = job_of(name, project)
        known = files.read_json(client.config.scheduled_file) or {}
        drain = drainfile.read(client.config.drain_file)
        state = client.job_state(job)
        there = (
            state
            or ("waits for scrapyd.resume" if drain and drain.get(job, project) else None)
            or ("has run" if job in known or logs.status(project, request.spider, job) else None)
        )
        if there:
            if job not in known and not dry_run:
                _remember(client.config.scheduled_file, known, job, name)
            return {
                "job": job,
                "project": project,
                "spider": request.spider,
                "scheduled": False,
                "state": there,
                "log": client.log_url(project, request.spider, job),
                "reason": f"the crawl {name} was scheduled before, as job {job}: {there}",
            }
        refuse_if_drained(client)
        wanted = Request(
            request.spider, project, request.version, job, request.priority, request.arguments, request.settings
        )
        result = _schedule(client, logs, wanted, unless_running=False, dry_run=dry_run)
        if not dry_run:
            _remember(client.config.scheduled_file, known, job, name)
        return result


def job_of(name: str, project: str) -> str:
    """Return the job id of a name: readable, and another one for another name or project."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60]
    return f"{readable}-{hashlib.sha256(f'{project}/{name}'.encode()).hexdigest()[:12]}"


def refuse_if_drained(client: Client) -> None:
    """Raise KingfisherError if no crawl may be scheduled, because Scrapyd is drained."""
    if drain := drainfile.read(client.config.drain_file):
        raise KingfisherError(
            f"{client.config.place} is drained since {drain.since} ({drain.path}), so that nothing is scheduled: when "
            "it has been restarted, run scrapyd.resume"
        )


def lock_file(client: Client) -> Path:
    """Return the lock that is held while a crawl is compared with those that run, and scheduled."""
    return client.config.drain_file.with_name(f"{client.config.drain_file.name}.schedule-lock")


def _alone(client: Client, *, dry_run: bool) -> Any:
    if dry_run:
        return nullcontext()
    return files.locked(lock_file(client), "scrapyd.schedule", wait=client.config.timeout + _LOCK_WAIT)


def _schedule(client: Client, logs: Logs, request: Request, *, unless_running: bool, dry_run: bool) -> dict[str, Any]:
    project = jobs.the_project(client, request.project)
    if request.job is not None and not jobs.is_name(request.job):
        raise KingfisherError(f"argument jobid must be fit for a file name, not {request.job!r}")
    if request.version is not None:
        jobs.check_version(client, project, request.version)
    jobs.check_spider(client, project, request.spider, request.version)
    result: dict[str, Any] = {
        "job": request.job,
        "project": project,
        "spider": request.spider,
        "version": request.version,
        "arguments": dict(request.arguments),
        "scheduled": False,
        "state": None,
    }
    active = [job for job in jobs.read_jobs(client) if job.state != "finished"]
    processes = crawl_processes()
    for job in active:
        if request.job == job.id:
            return result | _instead(client, job, f"job {job.id} is {job.state} already")
    if unless_running and (found := _same(request, project, active, processes, logs)):
        job, reason = found
        return result | _instead(client, job, reason)
    if dry_run:
        return result | {"reason": "it would have been scheduled"}
    job_id = request.job or uuid.uuid1().hex
    try:
        client.schedule(
            project,
            request.spider,
            job_id,
            arguments=request.arguments,
            settings=request.settings,
            version=request.version,
            priority=request.priority,
        )
    except NoAnswerError:
        # It may have been scheduled nevertheless. If Scrapyd cannot be asked that either, that is the error.
        if not (state := client.job_state(job_id)):
            raise
    else:
        state = client.job_state(job_id)
    log = client.log_url(project, request.spider, job_id)
    return result | {"job": job_id, "scheduled": True, "state": state, "log": log}


def _instead(client: Client, job: Job, reason: str) -> dict[str, Any]:
    return {
        "job": job.id,
        "scheduled": False,
        "state": job.state,
        "log": client.log_url(job.project, job.spider, job.id),
        "reason": reason,
    }


def _same(
    request: Request, project: str, active: list[Job], processes: Mapping[str, CrawlProcess], logs: Logs
) -> tuple[Job, str] | None:
    """Return a crawl that is, or may be, the one that is wanted, and why it is."""
    known = {job.id for job in active}
    forgotten = [
        Job(process.job, project, process.spider, "running", pid=process.pid)
        for process in processes.values()
        if process.orphaned and process.job not in known and process.project in (project, None)
    ]
    for job in [*active, *forgotten]:
        if (job.project, job.spider) != (project, request.spider):
            continue
        arguments = jobs.known_arguments(job, processes, logs)
        if arguments is None:
            return job, (
                f"job {job.id} of the same spider is running, with arguments that cannot be read from here: if they "
                "are others, schedule with unless_running=False"
            )
        if jobs.same_arguments(arguments, request.arguments):
            return job, f"job {job.id} of the same spider and arguments is {job.state}" + (
                "" if job.id in known else f" as process {job.pid}, although Scrapyd has forgotten it"
            )
    return None


def _remember(path: Path, known: dict[str, str], job: str, name: str) -> None:
    files.write_private(path, {**known, job: name})
