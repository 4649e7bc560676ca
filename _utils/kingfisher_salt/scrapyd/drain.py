"""
Stop all crawls so that Scrapyd can be restarted or moved, and remember those that did not come to their end.

Scrapyd cannot be paused. So pending jobs are written to the drain file and then cancelled, again and again, until none
is left; meanwhile ``scrapyd.schedule`` refuses. Running crawls may finish; those that take too long are written to the
file, and then asked to stop. A crawl is in the file before anything is done to it, and leaves the file only when it
came to its own end, or was scheduled again. So whoever is killed at any moment can be run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import drainfile, files, jobs
from .cancel import FORCED_WAIT, was_asked
from .client import Client, RefusedError
from .drainfile import Drain, Saved
from .jobs import Job
from .logs import Logs, LogStatus
from .processes import CrawlProcess, crawl_processes
from .resume import settle_scheduled
from .schedule import lock_file

_LOCK_WAIT = 60
#: After how many pauses to look at the jobs, even if their numbers are the same.
_RELIST = 10
#: Within what time a crawl says that it received a signal, in seconds, unless it is stuck.
_HEARD = 5
#: How often, and after what time, to look for the process of a crawl that has just begun.
_TRIES = 10
_PAUSE = 0.1


@dataclass(frozen=True)
class Options:
    """How a drain is done. Times are in seconds."""

    #: For how long running crawls may finish by themselves.
    timeout: float = 300
    #: For how long those that were asked to stop may take to do so.
    grace: float = 300
    #: Whether to end those uncleanly that do not stop.
    force: bool = False
    dry_run: bool = False
    pause: float = 1


def drain(
    client: Client, logs: Logs, options: Options, step: Callable[[str], None] = lambda _name: None
) -> dict[str, Any]:
    """
    Drain Scrapyd.

    :param step: called after each thing that is done, with its name
    :returns: ``drained``; ``since``; ``jobs``, which are to be scheduled again; ``finished``, which came to their end
        meanwhile; and ``failed``, by job, those that still run, and those of which nobody knows what to schedule
    """
    if options.dry_run:
        return _plan(client)
    with files.locked(run_lock(client), "scrapyd.drain or scrapyd.resume"):
        client.daemon_status()  # whose error is raised before anything is changed
        # Whoever holds the other lock may be about to schedule. After that, all see the file.
        with files.locked(lock_file(client), "scrapyd.schedule", wait=client.config.timeout + _LOCK_WAIT):
            state = drainfile.read(client.config.drain_file) or drainfile.new(client.config.drain_file)
            if state.phase == "resuming":
                settle_scheduled(client, logs, state)
            state.phase = "draining"
            state.write()
        step("begin")
        return _Run(client, logs, options, step, state).run()


def run_lock(client: Client) -> Any:
    """Return the lock that a drain or a resumption holds all the time."""
    return client.config.drain_file.with_name(f"{client.config.drain_file.name}.lock")


def _plan(client: Client) -> dict[str, Any]:
    state = drainfile.read(client.config.drain_file)
    active = [job for job in jobs.read_jobs(client) if job.state != "finished"]
    return {
        "drained": bool(state and state.phase == "drained" and not active),
        "since": state.since if state else None,
        "jobs": _told(state) if state else {},
        "pending": [job.id for job in active if job.state == "pending"],
        "running": [job.id for job in active if job.state == "running"],
    }


def _told(state: Drain) -> dict[str, Any]:
    return {
        saved.job: {
            "project": saved.project,
            "spider": saved.spider,
            "was": saved.was,
            "arguments": saved.arguments,
            "goes_on": saved.goes_on,
        }
        for saved in state.jobs
    }


class _Run:
    def __init__(
        self, client: Client, logs: Logs, options: Options, step: Callable[[str], None], state: Drain
    ) -> None:
        self._client, self._logs, self._options, self._step, self._state = client, logs, options, step, state
        self._asked: set[str] = set()
        self._finished: list[str] = []
        # By job, why Scrapyd would not cancel it.
        self._refused: dict[str, str] = {}
        # When a crawl that may have been asked before was first seen, and the size of its log then.
        self._sighted: dict[str, tuple[float, int]] = {}

    def run(self) -> dict[str, Any]:
        deadline = time.monotonic() + self._options.timeout
        last = deadline + self._options.grace
        forces = [("INT", last), ("KILL", last + FORCED_WAIT)] if self._options.force else []
        end = last + (2 * FORCED_WAIT if forces else 0)
        while True:
            active = [job for job in jobs.read_jobs(self._client) if job.state != "finished"]
            self._settle({job.id for job in active})
            if not active:
                break
            self._save(active)
            running = [job for job in active if job.state == "running"]
            pending = [job for job in active if job.state == "pending"]
            for job in pending:
                self._cancel(job)
            if time.monotonic() >= deadline:
                for job in running:
                    self._ask(job)
            if forces and time.monotonic() >= forces[0][1]:
                signal, _ = forces.pop(0)
                for job in running:
                    self._signal(job, signal)
                    self._step("force")
            if any(job.id not in self._refused for job in pending):
                continue
            now = time.monotonic()
            if now >= end:
                return self._result(active)
            until = deadline if now < deadline else forces[0][1] if forces else end
            self._wait(len(running), min(until, now + _RELIST * self._options.pause))
        self._state.phase = "drained"
        self._state.write()
        self._step("drained")
        return self._result([])

    def _save(self, active: list[Job]) -> None:
        """Write jobs to the file, unless they are in it."""
        new = [job for job in active if not self._state.get(job.id, job.project)]
        if new:
            processes = self._processes([job.id for job in new if job.state == "running"])
            known = {job.project: self._priorities(job.project) for job in new}
            self._state.jobs += [self._saved(job, processes, known[job.project]) for job in new]
            self._state.write()
            self._step("save")

    def _processes(self, wanted: list[str]) -> Mapping[str, CrawlProcess]:
        """Return the crawls on this host, once those are among them that have just begun."""
        for _ in range(_TRIES if self._client.config.is_here else 1):
            found = crawl_processes()
            if all(job in found for job in wanted):
                break
            time.sleep(_PAUSE)
        return found

    def _cancel(self, job: Job) -> None:
        """Cancel a pending job that is in the file."""
        if self._signal(job) == "running":
            # It started in between, so that it was sent a signal.
            saved = self._state.get(job.id, job.project)
            assert saved
            self._asked.add(job.id)
            saved.was, saved.signalled = "running", True
            self._state.write()
        self._step("cancel")

    def _signal(self, job: Job, signal: str = "INT") -> str | None:
        """Cancel a job, and return which it was. If Scrapyd refuses, as if the project is gone, note that."""
        try:
            was = self._client.cancel(job.project, job.id, signal)
        except RefusedError as e:
            cure = f"run kill -INT {job.pid} on its host, and rerun" if job.pid else "look at its own log, and rerun"
            self._refused[job.id] = f"job {job.id} of {job.spider} cannot be cancelled ({e}): {cure}"
            return None
        self._refused.pop(job.id, None)
        return was

    def _priorities(self, project: str) -> Mapping[str, float]:
        return jobs.priorities(self._client.config.databases_directory, project)

    def _saved(self, job: Job, processes: Mapping[str, CrawlProcess], priorities: Mapping[str, float]) -> Saved:
        process = processes.get(job.id)
        arguments = jobs.known_arguments(job, processes, self._logs)
        log = self._logs.status(job.project, job.spider, job.id)
        goes_on = bool(process.settings.get("JOBDIR")) if process else None
        return Saved(
            job=job.id,
            project=job.project,
            spider=job.spider,
            version=process.version if process else job.version,
            arguments=dict(arguments or {}),
            settings=jobs.original_settings(job, process),
            priority=priorities.get(job.id),
            was=job.state,
            complete=job.state == "pending" or process is not None,
            goes_on=goes_on if job.state == "running" else None,
            log_size=log.size if log and not _is_written(job, log) else 0,
        )

    def _ask(self, job: Job) -> None:
        """Ask a crawl to stop, once, whoever asked it before."""
        saved = self._state.get(job.id, job.project)
        if not saved or job.id in self._asked:
            return
        log = self._logs.status(job.project, job.spider, job.id)
        end = self._logs.end(job.project, job.spider, job.id, since=saved.log_size)
        if end.reason is not None:
            return
        if saved.signalled and not self._unheard(saved, log.size if log else 0):
            return  # until its log tells
        self._asked.add(job.id)
        before = saved.log_size
        # All that the log says of the end comes after this.
        saved.signalled, saved.log_size = True, log.size if log else 0
        self._state.write()
        self._step("mark")
        if was_asked(self._logs, job.project, job.spider, job.id):
            return
        self._signal(job)
        self._step("signal")
        if job.id in self._refused:
            self._asked.remove(job.id)
            saved.signalled, saved.log_size = False, before
            self._state.write()

    def _unheard(self, saved: Saved, size: int) -> bool:
        """
        Return whether a signal that a killed drain was about to send was not sent.

        A crawl that receives one says so as soon as it gets to it. If it wrote to its log for a while since this drain
        first looked, and nothing of a signal, then it has received none.
        """
        now = time.monotonic()
        when, before = self._sighted.setdefault(saved.job, (now, size))
        end = self._logs.end(saved.project, saved.spider, saved.job)
        return end.known and not end.asked and size > before and now - when >= _HEARD

    def _settle(self, active: set[str]) -> None:
        """Forget saved crawls that came to their own end, and note that the others have stopped."""
        for saved in list(self._state.jobs):
            if saved.job in active or saved.stopped:
                saved.stopped = saved.job not in active  # unless somebody scheduled it again
                continue
            if came_to_its_end(self._client, self._logs, saved):
                self._state.jobs.remove(saved)
                self._finished.append(saved.job)
            else:
                saved.stopped = True
            self._state.write()
            self._step("settle")

    def _wait(self, running: int, until: float) -> None:
        """
        Wait until the numbers of jobs change, which Scrapyd tells at less cost than the jobs.

        A crawl that takes the slot of another does not change them.
        """
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(self._options.pause, left))
            status = self._client.daemon_status()
            if status["pending"] or status["running"] != running:
                return

    def _result(self, active: list[Job]) -> dict[str, Any]:
        config = self._client.config
        failed = {
            job.id: self._refused.get(job.id)
            or f"job {job.id} of {job.spider} was asked to stop, and still runs: rerun, or use force=True"
            for job in active
        }
        failed |= {
            saved.job: f"job {saved.job} of {saved.spider} ran where its command line cannot be read, so that its "
            f"settings and version are not known: look at it in {config.drain_file}, correct it, set complete to true"
            for saved in self._state.jobs
            if not saved.complete and saved.job not in failed
        }
        return {
            "drained": not active,
            "since": self._state.since,
            "jobs": _told(self._state),
            "finished": self._finished,
            "failed": failed,
        }


def _is_written(job: Job, log: LogStatus) -> bool:
    """Return whether a crawl wrote to its log since it began. It may even have ended since Scrapyd was asked."""
    return job.state == "running" and log.age <= jobs.seconds_since(job.start_time)


def came_to_its_end(client: Client, logs: Logs, saved: Saved) -> bool:
    """Return whether a crawl that neither waits nor runs any more has ended by itself, since it was saved."""
    end = logs.end(saved.project, saved.spider, saved.job, since=saved.log_size)
    if end.known:
        return end.by_itself
    # A log without INFO says nothing: then a crawl that was not asked to stop, and did, has ended by itself.
    if saved.signalled or client.job_state(saved.job) != "finished":
        return False
    log = logs.status(saved.project, saved.spider, saved.job)
    return saved.was == "running" or (log is not None and log.size > saved.log_size)
