"""Cancel a job: gracefully, confirmed by its state, and never with a second signal that nobody asked for."""

from __future__ import annotations

import time
from typing import Any

from ..errors import KingfisherError
from . import jobs
from .client import Client
from .jobs import Job
from .logs import End, Logs

#: How long a crawl may take to end once it was forced to, in seconds, before it is killed.
FORCED_WAIT = 10
_PAUSE = 0.5


def cancel(
    client: Client, logs: Logs, job_id: str, *, wait: float, force: bool = False, dry_run: bool = False
) -> dict[str, Any]:
    """
    Cancel a job, and wait for its end.

    The first signal lets Scrapy finish the requests that are under way; with a second one, it drops them. So a crawl
    that was asked to stop before is not asked again.

    :param wait: for how long to wait after each step, in seconds
    :param force: whether to send the second signal, and to kill what does not heed it
    :returns: job, spider, before, state, signals, seconds, finish_reason and, if it is not over, ``failed``
    :raises KingfisherError: if the job is unknown
    """
    job = jobs.find(client, job_id)
    result: dict[str, Any] = {
        "job": job.id,
        "project": job.project,
        "spider": job.spider,
        "before": job.state,
        "state": job.state,
        "signals": [],
    }
    if job.state == "finished":
        return result | {"comment": f"job {job.id} had ended already, at {job.end_time}"}
    if dry_run:
        return result | {"comment": f"job {job.id} is {job.state}, and would have been cancelled"}
    started = time.monotonic()
    if job.state == "running" and was_asked(logs, job.project, job.spider, job.id):
        was: str | None = "running"
    else:
        was = client.cancel(job.project, job.id)
        result["signals"] += ["INT"] if was == "running" else []
    over = _end(client, job, wait, result["signals"], force=force)
    state = was or job.state
    end = logs.end(job.project, job.spider, job.id) if over and state == "running" else End()
    result["state"] = client.job_state(job.id)
    result |= {"seconds": round(time.monotonic() - started, 1), "finish_reason": end.reason}
    if over:
        by_itself = end.by_itself if end.known else state == "running" and not was
        what = "came to its own end" if by_itself else "has been cancelled"
        return result | {"comment": f"job {job.id}, which was {state}, {what}"}
    return result | {
        "failed": {
            job.id: f"job {job.id} of {job.spider} was asked to stop, and is still running after {wait:g} s: wait, or "
            f"end it uncleanly with scrapyd.cancel {job.id} force=True"
        }
    }


def _end(client: Client, job: Job, wait: float, signals: list[str], *, force: bool) -> bool:
    """Wait for a job that was asked to stop, and if it is to be forced, force it. Returns whether it is over."""
    if _wait(client, job, wait):
        return True
    for signal in ("INT", "KILL") if force else ():
        if client.cancel(job.project, job.id, signal):
            signals.append(signal)
        if _wait(client, job, min(wait, FORCED_WAIT) if signal == "INT" else FORCED_WAIT):
            return True
    return False


def was_asked(logs: Logs, project: str, spider: str, job: str) -> bool:
    """Return whether a running crawl's log says that it is stopping."""
    try:
        end = logs.end(project, spider, job)
    except KingfisherError:
        return False
    return end.asked and end.reason is None


def _wait(client: Client, job: Job, seconds: float) -> bool:
    """Return whether a job is neither pending nor running any more, within a time."""
    deadline = time.monotonic() + seconds
    while client.job_state(job.id) in ("pending", "running"):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_PAUSE)
    return True
