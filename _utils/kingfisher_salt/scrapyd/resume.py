"""Schedule again what a drain has stopped, under its own job ids, none twice, however often this is killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import KingfisherError
from . import drainfile, files, jobs
from .client import Client, NoAnswerError, RefusedError
from .drainfile import Drain, Saved
from .logs import Logs

_PAUSE = 0.5


def resume(
    client: Client,
    logs: Logs,
    *,
    drop: Iterable[str] = (),
    wait: float = 0,
    dry_run: bool = False,
    step: Callable[[str], None] = lambda _name: None,
) -> dict[str, Any]:
    """
    Schedule all crawls in the drain file, and then allow others to be scheduled.

    :param drop: jobs that are not to be scheduled again
    :param wait: for how long to wait for Scrapyd, which may be starting, in seconds
    :param step: called after each thing that is done, with its name
    :returns: ``resumed`` (whether Scrapyd is not drained any more), ``scheduled``, by job, with what becomes of it,
        and ``failed``, by job: what could not be, and stays in the file
    """
    if dry_run:
        return _plan(client, set(drop))
    with files.locked(client.config.drain_file.with_name(f"{client.config.drain_file.name}.lock"), "scrapyd.drain"):
        state = drainfile.read(client.config.drain_file)
        if state is None:
            return {"resumed": True, "scheduled": {}, "failed": {}}
        _wait_for(client, wait)
        _drop(state, drop)
        state.phase = "resuming"
        state.write()
        step("begin")
        scheduled, failed = _Run(client, logs, state, step).run()
        if not state.jobs:
            files.remove(state.path)
            step("end")
        return {"resumed": not state.jobs, "scheduled": scheduled, "failed": failed}


def _wait_for(client: Client, seconds: float) -> None:
    """Return once Scrapyd answers. Its error is raised before anything is changed."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            client.daemon_status()
        except NoAnswerError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_PAUSE)
        else:
            return


def settle_scheduled(client: Client, logs: Logs, state: Drain) -> None:
    """Remove from a drain what a resumption that was killed has scheduled already."""
    for saved in list(state.jobs):
        if saved.scheduling and is_scheduled(logs, saved, _active(client)):
            state.jobs.remove(saved)
        saved.scheduling = False


def _active(client: Client) -> set[str]:
    return {job.id for job in jobs.read_jobs(client) if job.state != "finished"}


def is_scheduled(logs: Logs, saved: Saved, active: set[str]) -> bool:
    """Return whether a saved crawl waits or runs, or has run since a resumption was about to schedule it."""
    if saved.job in active:
        return True
    if not saved.scheduling:
        return False
    log = logs.status(saved.project, saved.spider, saved.job)
    return log is not None and log.size > saved.log_size


def _drop(state: Drain, drop: Iterable[str]) -> None:
    for job in drop:
        if job not in state.ids():
            raise KingfisherError(
                f"argument drop: job {job} is not in {state.path} (there: {', '.join(state.ids()) or 'none'})"
            )
        state.jobs = [saved for saved in state.jobs if saved.job != job]


def _plan(client: Client, drop: set[str]) -> dict[str, Any]:
    state = drainfile.read(client.config.drain_file)
    if state:
        _drop(state, drop)
    return {
        "resumed": state is None,
        "scheduled": {
            saved.job: f"{saved.spider} would have been scheduled" for saved in (state.jobs if state else [])
        },
        "failed": {},
    }


class _Run:
    def __init__(self, client: Client, logs: Logs, state: Drain, step: Callable[[str], None]) -> None:
        self._client, self._logs, self._state, self._step = client, logs, state, step

    def run(self) -> tuple[dict[str, str], dict[str, str]]:
        scheduled: dict[str, str] = {}
        failed: dict[str, str] = {}
        active = _active(self._client)
        # What was running began before what was pending, and begins before it again.
        highest = max((saved.priority or 0 for saved in self._state.jobs), default=0)
        for saved in sorted(self._state.jobs, key=lambda saved: saved.was != "running"):
            if saved.job in active and saved.signalled:
                failed[saved.job] = (
                    f"job {saved.job} of {saved.spider} was asked to stop, and still runs: rerun when it has ended, "
                    f"or end it with scrapyd.cancel {saved.job} force=True"
                )
                continue
            if is_scheduled(self._logs, saved, active):
                scheduled[saved.job] = f"{saved.spider}: it was scheduled already"
            elif not saved.complete:
                failed[saved.job] = (
                    f"job {saved.job} of {saved.spider}: what it was scheduled with is not known: correct it in "
                    f"{self._state.path}, and set complete to true; or leave it out with scrapyd.resume "
                    f"drop={saved.job}, and run {saved.schedule_command}"
                )
                continue
            else:
                try:
                    self._schedule(saved, highest if saved.was == "running" else saved.priority)
                except RefusedError as e:
                    saved.scheduling = False
                    self._state.write()
                    failed[saved.job] = (
                        f"job {saved.job} of {saved.spider}: {e}: deploy what it needs and rerun, or leave it "
                        f"out with scrapyd.resume drop={saved.job}"
                    )
                    continue
                scheduled[saved.job] = f"{saved.spider}: {_becomes(saved)}"
            self._state.jobs.remove(saved)
            self._state.write()
            self._step("forget")
        return scheduled, failed

    def _schedule(self, saved: Saved, priority: float | None) -> None:
        if not saved.scheduling:
            log = self._logs.status(saved.project, saved.spider, saved.job)
            saved.scheduling, saved.signalled, saved.log_size = True, False, log.size if log else 0
            self._state.write()
            self._step("mark")
        try:
            self._client.schedule(
                saved.project,
                saved.spider,
                saved.job,
                arguments=saved.arguments,
                settings=saved.settings,
                version=saved.version,
                priority=priority,
            )
        except NoAnswerError as e:
            raise NoAnswerError(f"{e}; what is left is in {self._state.path}: then run scrapyd.resume again") from e
        self._step("schedule")


def _becomes(saved: Saved) -> str:
    if saved.was == "pending":
        return "it waits, as it did"
    if saved.goes_on is None:
        return "it goes on where it stopped if it has a JOBDIR, else from the start"
    return "it goes on where it stopped" if saved.goes_on else "it has no JOBDIR, so that it begins from the start"
