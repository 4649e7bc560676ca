"""Restart one task of a job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import KingfisherError
from ..pelican import datasets
from ..pelican.config import Config as PelicanConfig
from .journal import one_at_a_time
from .registry import Counts, Registry, check_task
from .trace import queues

_QUEUES = {"exporter": "exporter_init", "flattener": "flattener_init"}


@dataclass(frozen=True)
class Tools:
    """What is needed beside the Data Registry."""

    counts: Counts
    pelican: Callable[[], PelicanConfig]


def restart(
    registry: Registry, tools: Tools, job_id: int, task: str, *, force: bool = False, dry_run: bool = False
) -> dict[str, Any]:
    """
    Restart a task as the Data Registry's guide for administrators says.

    :param force: whether to do so though messages wait in the task's queue, or may be at its worker, or its lock file
        is fresh
    :returns: job, task, done (or would, for a dry run), notes, comment
    :raises KingfisherError: if it cannot or should not be restarted
    """
    check_task(task)
    if task in ("collect", "process"):
        raise KingfisherError(
            f"{task} cannot be restarted on its own: data_registry.delete_job {job_id} deletes the job, and the Data "
            "Registry's manageprocess makes a new one"
        )
    if dry_run:
        return _restart(registry, tools, job_id, task, force=force, dry_run=True)
    with one_at_a_time(registry.config.state_directory):
        return _restart(registry, tools, job_id, task, force=force, dry_run=False)


def _restart(
    registry: Registry, tools: Tools, job_id: int, task: str, *, force: bool, dry_run: bool
) -> dict[str, Any]:
    found = registry.trace(job_id)
    if task not in found["job"]["tasks"]:
        raise KingfisherError(
            f"job {job_id} has no task {task}, but {', '.join(found['job']['tasks'])}: choose one of those"
        )
    steps = {"pelican": _pelican, "exporter": _exporter, "flattener": _flattener}[task](registry, tools, found)
    busy = _busy(registry, tools, found, task)
    if busy and not force:
        raise KingfisherError(
            f"{task} of job {job_id} is not restarted, since {'; '.join(busy)}: wait for it, or use force=True"
        )
    if not dry_run:
        steps.run()
    notes = [f"forced, though {reason}" for reason in busy]
    if task == "pelican" and not registry.config.pelican_queues:
        notes.append("no queue of Pelican backend was looked at, since data_registry:pelican_queues is not set")
    verb = "would have been" if dry_run else "has been"
    return {
        "job": job_id,
        "task": task,
        "would" if dry_run else "done": steps.listed,
        "notes": notes,
        "comment": f"{task} of job {job_id} {verb} restarted",
    }


@dataclass(frozen=True)
class _Steps:
    listed: list[str]
    run: Callable[[], None]


def _pelican(registry: Registry, tools: Tools, found: dict[str, Any]) -> _Steps:
    pk, pelican = found["job"]["job"], found["pelican"]
    if error := pelican["error"]:
        raise KingfisherError(
            f"pelican of job {pk} is not restarted, since Pelican does not answer the Data Registry at "
            f"{pelican['url']} ({error}): start it, or correct that"
        )
    tasks = list(found["job"]["tasks"])
    planned = tasks[tasks.index("pelican") :]
    dataset = pelican["dataset"]
    listed = []
    if dataset and _remove(tools, int(dataset), dry_run=True):
        listed.append(f"dataset {dataset} is removed from Pelican")
    listed += [f"{', '.join(planned)}: PLANNED", f"job {pk}: RUNNING, without pelican_id in its context"]

    def run() -> None:
        if dataset:
            _remove(tools, int(dataset), dry_run=False)
        registry.ask("plan", pk=pk, types=planned)

    return _Steps(listed, run)


def _remove(tools: Tools, dataset: int, *, dry_run: bool) -> bool:
    """Remove a dataset. Returns whether there is one, which there is not if this was killed after it."""
    try:
        datasets.remove(tools.pelican(), dataset, dry_run=dry_run)
    except datasets.UnknownDatasetError:
        return False
    return True


def _exporter(registry: Registry, _: Tools, found: dict[str, Any]) -> _Steps:
    pk, compiled = found["job"]["job"], found["named"]["compiled"]
    if not compiled:
        raise KingfisherError(
            f"exporter of job {pk} is not restarted, since its context names no compiled collection: process did not "
            f"end, so data_registry.delete_job {pk}"
        )
    locks = [name for name in found["export"]["locks"] if name.endswith(".jsonl.gz.lock")]
    return _publication(registry, found, locks, {"job_id": pk, "collection_id": int(compiled)}, "exporter")


def _flattener(registry: Registry, _: Tools, found: dict[str, Any]) -> _Steps:
    pk, export = found["job"]["job"], found["export"]
    if not export["exported"]:
        raise KingfisherError(
            f"flattener of job {pk} is not restarted, since {export['directory']} has no .jsonl.gz files: restart "
            "exporter first"
        )
    locks = [name for name in export["locks"] if name.endswith(".csv.tar.gz.lock")]
    return _publication(registry, found, [*locks, *export["flat"]], {"job_id": pk}, "flattener")


def _publication(
    registry: Registry, found: dict[str, Any], files: list[str], message: dict[str, int], task: str
) -> _Steps:
    if error := found["export"]["error"]:
        raise KingfisherError(f"{task} is not restarted, since the export cannot be read ({error}): correct that")
    directory, queue = found["export"]["directory"], _QUEUES[task]
    listed = [f"{directory}/{name} is deleted" for name in files]
    listed.append(f"{message} is published to {found['exchange']}_{queue}")
    pk = found["job"]["job"]
    return _Steps(listed, lambda: registry.ask("publish", pk=pk, files=files, message=message, routing_key=queue))


def _busy(registry: Registry, tools: Tools, found: dict[str, Any], task: str) -> list[str]:
    """
    Return why a task may be at work.

    :raises KingfisherError: if that cannot be told, or nobody would hear the message
    """
    busy = [held for name, queue in _waiting(registry, tools, found, task).items() if (held := _held(name, queue))]
    limit = registry.config.lock_hours
    export = found["export"]
    suffix = {"exporter": ".jsonl.gz.lock", "flattener": ".csv.tar.gz.lock"}.get(task)
    for name, hours in export["locks"].items():
        if suffix and name.endswith(suffix) and hours < limit:
            place = f"{export['directory']}/{name}"
            busy.append(f"the lock file {place} is {hours:.1f} h old, of {limit:g} (data_registry:lock_hours)")
    return busy


def _waiting(registry: Registry, tools: Tools, found: dict[str, Any], task: str) -> dict[str, dict[str, Any]]:
    """Return what waits in the queues of a task."""
    refused = f"{task} of job {found['job']['job']} is not restarted, since"
    if task == "pelican":
        waiting: dict[str, Any] = dict(tools.counts(list(registry.config.pelican_queues)))
        cure = "correct data_registry:pelican_queues"
    else:
        known = queues(tools.counts, found)
        if error := known.get("error"):
            raise KingfisherError(f"{refused} {error}")
        name = f"{found['exchange']}_{_QUEUES[task]}"
        waiting = {name: known.get(name)}
        cure = f"start the Data Registry's {task}, without which the message would be lost"
    for name, queue in waiting.items():
        if queue is None:
            raise KingfisherError(f"{refused} there is no queue {name}: {cure}")
    return waiting


def _held(name: str, queue: dict[str, Any]) -> str | None:
    """Return what a queue holds, or may hold, if anything."""
    ready, unacknowledged = queue["ready"], queue.get("unacknowledged")
    if unacknowledged is None:
        return (
            f"the queue {name} holds {ready} ready messages, and how many are at consumers is not known "
            f"(rabbitmq_queue.list {name} tells why)"
        )
    if ready or unacknowledged:
        return f"the queue {name} holds {ready} ready and {unacknowledged} unacknowledged messages"
    return None
