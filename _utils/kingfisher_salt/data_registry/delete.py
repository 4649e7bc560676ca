"""Delete a job, and with it what it has in every other system."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ..apps.application import ApplicationError
from ..apps.shell import RaisedError
from ..errors import KingfisherError
from ..scrapyd import cancel as scrapyd_cancel
from ..scrapyd.client import Client
from ..scrapyd.logs import Logs
from . import publications
from .journal import Journal, one_at_a_time
from .registry import Registry, unknown

_LIVE = ("pending", "running")
# What Kingfisher Collect writes when it begins, and the Data Registry reads from there in its own time.
_CREATED = re.compile(rb"Created collection (\d+) in Kingfisher Process \(([^)\n]{1,40})\)")
#: Bytes of a log in which that is looked for.
_HEAD = 1 << 20


@dataclass(frozen=True)
class Options:
    """How to delete. ``wait`` is how long to wait for the crawl's end, and then for the rest to go, in seconds."""

    freeze: bool = False
    force: bool = False
    wait: float = 60
    dry_run: bool = False


def delete(registry: Registry, client: Client, logs: Logs, job_id: int, options: Options) -> dict[str, Any]:
    """
    Delete a job, its crawl, its collection, its dataset and its export.

    Every other system is asked first. Then the crawl is ended, so that it adds to nothing that is being deleted. Then
    the application deletes the job, and its own signals do the rest. At last, each thing is looked for again. What is
    to go is in a journal from before the first change until all of it is gone.

    :returns: job, source, would (for a dry run) or deleted, waiting (what is not gone yet, by system), done, comment
    :raises KingfisherError: if the job is unknown, a system does not answer, or the application refuses
    """
    if options.dry_run:
        return _Deletion(registry, client, logs, job_id, options).tell()
    with one_at_a_time(registry.config.state_directory):
        return _Deletion(registry, client, logs, job_id, options).run()


class _Deletion:
    def __init__(self, registry: Registry, client: Client, logs: Logs, job_id: int, options: Options) -> None:
        self.registry, self.client, self.logs, self.job_id, self.options = registry, client, logs, job_id, options
        self.journal = Journal(registry.config.state_directory, job_id)
        self.notes: list[str] = []
        self.before = self.journal.read()
        self.found: dict[str, Any] | None = registry.ask("trace", pk=job_id)
        if self.found is None and self.before is None:
            raise unknown(job_id)
        self.context: dict[str, Any] = {}
        self.entry = self._entry()
        self.state: str | None = None
        self._check()

    def tell(self) -> dict[str, Any]:
        return self._result(would=self._list(), comment=f"job {self.job_id} would have been deleted")

    def run(self) -> dict[str, Any]:
        self.journal.write(self.entry)
        if self.options.freeze and self.entry["publication"]:
            publications.freeze(self.registry, str(self.entry["publication"]), frozen=True)
        self._end_crawl()
        self._find_collection()
        listed = self._list()
        if self.found is not None:
            self._delete_job()
            left = self._look()
        else:
            left = self._finish()
        if left:
            comment = (
                f"job {self.job_id} has been deleted, and not all that it had is gone yet: "
                f"data_registry.delete_job {self.job_id} looks again, and asks for it again"
            )
            return self._result(deleted=listed, waiting=left, done=False, comment=comment)
        self.journal.remove()
        comment = f"job {self.job_id} has been deleted, with all that it had in the other systems"
        return self._result(deleted=listed, waiting={}, done=True, comment=comment)

    # What there is

    def _entry(self) -> dict[str, Any]:
        """Return what is to go: what the job says now, else what it said when it was there."""
        before = self.before or {}
        if self.found is None:
            return before
        named, job = self.found["named"], self.found["job"]
        tasks = job["tasks"]
        if named["crawl"] and not named["collection"]:
            with suppress(KingfisherError):  # if Scrapyd does not answer, that is found next
                self.context = self._from_log(named["crawl"])
        exported = any(tasks.get(name, {}).get("start") for name in ("exporter", "flattener"))
        return {
            "job": self.job_id,
            "publication": job["publication"],
            "source": job["source"],
            "project": self.found["project"],
            "crawl": named["crawl"] or before.get("crawl"),
            "collection": named["collection"] or self.context.get("process_id") or before.get("collection"),
            "dataset": self.found["pelican"].get("dataset") or before.get("dataset"),
            "export": exported or self.found["export"]["there"] or before.get("export", False),
            "pelican": "pelican" in tasks,
            "begun": before.get("begun") or datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }

    def _from_log(self, crawl: str) -> dict[str, Any]:
        """Return what the crawl's log says of its collection, which the Data Registry may not have read yet."""
        assert self.found is not None
        head = self.logs.head(self.found["project"], self.found["job"]["source"], crawl, _HEAD)
        match = _CREATED.search(head or b"")
        return {"process_id": int(match[1]), "data_version": match[2].decode()} if match else {}

    def _check(self) -> None:
        """
        Ask every other system, and change nothing.

        :raises KingfisherError: if one does not answer, or the job cannot be deleted
        """
        if self.found is not None and self.found["active"]:
            raise KingfisherError(
                f"job {self.job_id} is the active job of publication {self.entry['publication']} "
                f"({self.entry['source']}), whose downloads it has: make another job the active one in the admin, and "
                "run this again"
            )
        systems = self.found or self.registry.ask("systems", **self._names())
        problems = self._problems(systems)
        if problems:
            raise KingfisherError(f"job {self.job_id}: nothing was changed, since {'; '.join(problems)}")
        queue = systems["rabbitmq"]["queues"].get(f"{systems['exchange']}_wiper_init")
        if queue is not None and not queue["consumers"] and self.entry["export"]:
            self.notes.append("the Data Registry's wiper does not run: the export stays until it does")

    def _problems(self, systems: dict[str, Any]) -> list[str]:
        problems = []
        try:
            self.state = self.client.job_state(self.entry["crawl"]) if self.entry["crawl"] else None
            if not self.entry["crawl"]:
                self._check_no_crawl()
        except KingfisherError as e:
            problems.append(str(e))
        named = {"scrapyd": "Scrapyd", "process": "Kingfisher Process", "pelican": "Pelican"}
        if not self.entry["pelican"]:
            del named["pelican"]
        for key, name in named.items():
            if error := systems[key]["error"]:
                place = f" at {systems[key]['url']}" if systems[key]["url"] else ""
                problems.append(
                    f"{name} does not answer the Data Registry{place} ({error}): start it, or correct that"
                )
        if error := systems["export"]["error"]:
            problems.append(f"the Data Registry's EXPORTER_DIR cannot be read ({error}): mount it, or correct that")
        if error := systems["rabbitmq"]["error"]:
            problems.append(
                f"RabbitMQ does not answer the Data Registry ({error}): start it, or correct its RABBIT_URL"
            )
        else:
            name = f"{systems['exchange']}_wiper_init"
            if self.entry["export"] and systems["rabbitmq"]["queues"].get(name) is None:
                problems.append(f"there is no queue {name}, so that nobody would hear what to delete: start the wiper")
        return problems

    def _check_no_crawl(self) -> None:
        """
        Look for crawls of a job that began one, and does not say which.

        :raises KingfisherError: if there is one that may be the job's
        """
        if self.found is None or not self.found["job"]["tasks"].get("collect", {}).get("start"):
            self.client.daemon_status()
            return
        spider, project = self.entry["source"], self.entry["project"]
        listing = self.client.list_jobs()
        live = [c["id"] for s in _LIVE for c in listing[s] if c["spider"] == spider and c["project"] == project]
        if live:
            raise KingfisherError(
                f"its context has no job_id, and {spider} is being crawled by {', '.join(live)}: end that with "
                f"scrapyd.cancel {live[0]}, or write the job_id into the context in the admin"
            )
        self.notes.append(f"its context has no job_id, and no crawl of {spider} is pending or running")

    def _names(self) -> dict[str, Any]:
        return {"pk": self.job_id, "collection": self.entry["collection"], "dataset": self.entry["dataset"]}

    def _list(self) -> list[str]:
        """Return all that goes, for people."""
        entry = self.entry
        here = f"job {self.job_id} of publication {entry['publication']} ({entry['source']})"
        listed = [here if self.found is not None else f"{here}, deleted already"]
        if entry["crawl"]:
            state = self.state or "forgotten"
            listed.append(f"crawl {entry['crawl']} in Scrapyd, which is {state}, with its files")
        if entry["collection"]:
            listed.append(f"collection {entry['collection']} in Kingfisher Process, with those made from it")
        if entry["dataset"]:
            listed.append(f"dataset {entry['dataset']} in Pelican")
        if entry["export"]:
            listed.append("its directory below the Data Registry's EXPORTER_DIR")
        return listed

    # What is done

    def _end_crawl(self) -> None:
        if self.state not in _LIVE:
            return
        ended = scrapyd_cancel.cancel(
            self.client, self.logs, self.entry["crawl"], wait=self.options.wait, force=self.options.force
        )
        if "failed" in ended:
            raise KingfisherError(
                f"job {self.job_id} is not deleted yet, since its crawl {self.entry['crawl']} was asked to stop, and "
                f"still runs: run this again, with force=True to end the crawl uncleanly"
            )

    def _find_collection(self) -> None:
        """Read the log of the ended crawl for a collection that was created since it was read at first."""
        if self.found is None or not self.entry["crawl"] or self.entry["collection"]:
            return
        try:
            self.context = self._from_log(self.entry["crawl"])
        except KingfisherError as e:
            raise KingfisherError(f"job {self.job_id} is not deleted yet: run this again, since {e}") from e
        if self.context:
            self.entry["collection"] = self.context["process_id"]
            self.journal.write(self.entry)

    def _delete_job(self) -> None:
        try:
            unnamed = self.found is not None and not self.found["named"]["crawl"]
            self.registry.ask("delete", pk=self.job_id, without_crawl=unnamed, context=self.context)
        except RaisedError as e:
            said = e.said.strip().splitlines() or [e.type]
            raise KingfisherError(
                f"job {self.job_id} is not deleted, since the Data Registry could not clean up after it ({e.type}: "
                f"{said[0]}): put that right, and run this again"
            ) from e
        except ApplicationError as e:
            raise KingfisherError(f"job {self.job_id} may be half deleted: run this again, since {e}") from e

    def _finish(self) -> dict[str, str]:
        """Ask again for the deletion of what is left of a job whose row is gone. Returns what is left after that."""
        found = self.registry.ask("remains", **self._names(), wait=0)
        asked = self._of(found)
        waiting = sum(
            (queue or {}).get("ready", 0) for name, queue in found["rabbitmq"]["queues"].items() if "wiper" in name
        )
        if asked:
            try:
                self.registry.ask(
                    "delete_again",
                    pk=self.job_id,
                    collection=self.entry["collection"] if "kingfisher_process" in asked else None,
                    dataset=self.entry["dataset"] if "pelican" in asked else None,
                    # A message that still waits need not be sent again.
                    export="export" in asked and not waiting,
                )
            except RaisedError as e:
                said = e.said.strip().splitlines() or [e.type]
                raise KingfisherError(
                    f"job {self.job_id} is deleted, and {', '.join(asked)} could not be ({e.type}: {said[0]}): put "
                    "that right, and run this again"
                ) from e
        return self._look()

    def _look(self) -> dict[str, str]:
        """Return what is still there, after a time, with what to do."""
        return self._of(self.registry.ask("remains", **self._names(), wait=self.options.wait))

    def _of(self, found: dict[str, Any]) -> dict[str, str]:
        left = {}
        if found["job"]:
            left["data_registry"] = f"job {self.job_id} is there again: the Data Registry was at work on it"
        process, pelican, export = found["process"], found["pelican"], found["export"]
        if self.entry["collection"] and (process["there"] or process["error"]):
            left["kingfisher_process"] = (
                f"collection {self.entry['collection']} is still there ({process['error'] or 'it is asked to go'}): "
                "its wiper may be at work"
            )
        if self.entry["dataset"] and (pelican["there"] or pelican["error"]):
            left["pelican"] = (
                f"dataset {self.entry['dataset']} is still there ({pelican['error'] or pelican.get('phase')}): "
                "pelican.datasets shows it"
            )
        if export["there"] or export["error"]:
            why = export["error"] or "the wiper may be at work, or not run"
            left["export"] = f"{export['directory']} is still there ({why})"
        return left

    def _result(self, **parts: Any) -> dict[str, Any]:
        given = {key: self.entry[key] for key in ("job", "publication", "source")}
        return {**given, "frozen": self.options.freeze, "notes": self.notes, **parts}
