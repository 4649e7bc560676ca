"""What is wrong with Scrapyd, and the command that cures it: what its web page does not tell."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..crawl_logs import is_crawl_log
from ..errors import KingfisherError
from . import drainfile, jobs
from .client import Client
from .jobs import Job
from .logs import WINDOWS, Logs, read_end, read_part
from .processes import CrawlProcess, crawl_processes

_MINUTE, _HOUR = 60, 3600
#: The youngest a process that is not found may be, in seconds: it may have ended a moment ago.
_PAUSE = 0.5


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    problem: str
    says: str
    cure: str
    job: str | None = None

    def show(self) -> dict[str, Any]:
        shown = {"problem": self.problem, "says": self.says, "cure": self.cure}
        return {**shown, "job": self.job} if self.job else shown


def health(client: Client, logs: Logs) -> dict[str, Any]:
    """
    Return ``healthy``, numbers of jobs, and problems: each with what it says, and its cure.

    :raises KingfisherError: if Scrapyd does not answer
    """
    status = client.daemon_status()
    known = jobs.read_jobs(client)
    running = [job for job in known if job.state == "running"]
    pending = [job for job in known if job.state == "pending"]
    here = client.config.is_here or status.get("node_name") == socket.gethostname()
    processes = crawl_processes() if here else {}
    problems = [
        *_drained(client),
        *_stuck(client, pending, running),
        *_stalled(client, logs, running),
        *(_gone(client, running, processes) if here else ()),
        *(_forgotten(processes, known) if here else ()),
        *_lost(client, known, processes),
        *_disks(client),
    ]
    return {
        "healthy": not problems,
        "pending": len(pending),
        "running": len(running),
        "finished": status["finished"],
        "problems": [problem.show() for problem in problems],
    }


def _drained(client: Client) -> Iterator[Problem]:
    if drain := drainfile.read(client.config.drain_file):
        yield Problem(
            "drained",
            f"it is drained since {drain.since}, and {len(drain.jobs)} crawls wait in {drain.path}",
            "scrapyd.resume",
        )


def _restart(client: Client) -> str:
    return f"scrapyd.drain; systemctl restart {client.config.service}; scrapyd.resume"


def _stuck(client: Client, pending: list[Job], running: list[Job]) -> Iterator[Problem]:
    """
    Pending jobs, free slots, and nothing starts.

    Scrapyd looks at its queues every poll_interval, until that fails once: then never again. And each job that it
    cannot start, because it cannot make the log's directory, costs it a slot, for good.
    """
    slots = client.config.max_proc
    if not pending or len(running) >= (slots or 1):
        return
    time.sleep(client.config.poll_interval + 1)
    later = jobs.read_jobs(client)
    still = {job.id for job in later if job.state == "pending"}
    now = [job for job in later if job.state == "running"]
    if not {job.id for job in pending} <= still or len(now) >= (slots or 1):
        return
    of_slots = f"{len(now)} of {slots} slots are taken" if slots else "nothing is running"
    yield Problem(
        "stuck",
        f"{len(still)} crawls are pending, {of_slots}, and none has started within {client.config.poll_interval:g} s: "
        "Scrapyd has stopped looking at its queue, or has lost its slots to crawls that it could not start",
        f"journalctl -u {client.config.service}, then {_restart(client)}",
    )


def _stalled(client: Client, logs: Logs, running: list[Job]) -> Iterator[Problem]:
    limit = client.config.stalled_minutes * _MINUTE
    for job in running:
        log = logs.status(job.project, job.spider, job.id)
        silence = log.age if log else jobs.seconds_since(job.start_time)
        if silence > limit:
            what = "its log has not grown" if log else "it has no log"
            yield Problem(
                "stalled",
                f"job {job.id} of {job.spider} is running, and {what} for {silence / _MINUTE:.0f} minutes",
                f"scrapyd.log {job.id}; scrapyd.cancel {job.id}, and if it does not heed that, force=True",
                job.id,
            )


def _gone(client: Client, running: list[Job], processes: Mapping[str, CrawlProcess]) -> Iterator[Problem]:
    missing = [job for job in running if job.id not in processes]
    if not missing:
        return
    time.sleep(_PAUSE)
    still = {job.id for job in jobs.read_jobs(client) if job.state == "running"}
    now = crawl_processes()
    for job in missing:
        if job.id in still and job.id not in now:
            yield Problem(
                "gone",
                f"job {job.id} of {job.spider} is said to run as process {job.pid}, and there is no such process here",
                _restart(client),
                job.id,
            )


def _forgotten(processes: Mapping[str, CrawlProcess], known: list[Job]) -> Iterator[Problem]:
    active = {job.id for job in known if job.state != "finished"}
    for process in processes.values():
        if process.orphaned and process.job not in active:
            yield Problem(
                "forgotten",
                f"job {process.job} of {process.spider} runs as process {process.pid}, and Scrapyd, which was "
                "restarted meanwhile, does not know it",
                f"let it end, or kill -INT {process.pid}",
                process.job,
            )


def _lost(client: Client, known: list[Job], processes: Mapping[str, CrawlProcess]) -> Iterator[Problem]:
    """Find logs without an end, of crawls that are over: killed, or lost in a restart of Scrapyd or the host."""
    directory = client.config.logs_directory
    if not directory:
        return
    drain = drainfile.read(client.config.drain_file)
    active = {job.id for job in known if job.state != "finished"} | set(processes) | set(drain.ids() if drain else ())
    since = time.time() - client.config.lost_hours * _HOUR
    for project, spider, path in _recent_logs(directory, since):
        job = path.name.removesuffix(".log")
        if job in active:
            continue
        try:
            end = read_end(read_part(path, -WINDOWS[0], WINDOWS[0]))
            end = end if end.known else read_end(read_part(path, -WINDOWS[1], WINDOWS[1]))
        except OSError:
            continue
        if end.known and end.reason is None:
            yield Problem(
                "lost",
                f"job {job} of {spider} is over, and its log has no end: it was killed, or lost in a restart",
                f"scrapyd.schedule {spider} project={project} jobid={job}, with its arguments, which {path} has",
                job,
            )


def _recent_logs(directory: Path, since: float) -> Iterator[tuple[str, str, Path]]:
    try:
        for project in sorted(entry.name for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)):
            for spider in sorted(e.name for e in os.scandir(directory / project) if e.is_dir(follow_symlinks=False)):
                for entry in os.scandir(directory / project / spider):
                    if is_crawl_log(entry.name) and entry.stat(follow_symlinks=False).st_mtime >= since:
                        yield project, spider, Path(entry.path)
    except FileNotFoundError:
        return
    except OSError as e:
        raise KingfisherError(f"{e.filename} cannot be read: {e.strerror}: let this user read it") from e


def _disks(client: Client) -> Iterator[Problem]:
    config = client.config
    seen = set()
    for name in ("logs_directory", "data_directory", "databases_directory"):
        directory: Path | None = getattr(config, name)
        if not directory:
            continue
        if not directory.is_dir():
            yield Problem("missing", f"there is no directory {directory}", f"correct scrapyd:{name}")
            continue
        device = directory.stat().st_dev
        if device in seen:
            continue
        seen.add(device)
        usage = shutil.disk_usage(directory)
        free = 100 * usage.free / (usage.used + usage.free)
        if free < config.disk_free_percent:
            yield Problem(
                "disk",
                f"the disk of {directory} has {free:.1f}% free: a crawl whose log cannot be made costs Scrapyd a slot",
                "kingfisher.archive, then kingfisher.prune",
            )
