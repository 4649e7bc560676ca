"""One run of the archive: plan, archive, delete, and tell what was done."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from ..errors import KingfisherError, LockedError, StoreError, UnreachableError
from ..settings import nearest
from . import crawl as crawls
from . import local, metadata
from .bucket import DATA, LOG, Bucket, connect
from .cache import Cache
from .commit import Job, commit
from .config import Config
from .decision import ARCHIVE, KEEP, REJECT, SKIP, Decision
from .locks import BucketLock, host_lock
from .plan import Planned, Planner
from .remote import Remote
from .upload import Senders

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Report = Callable[[dict[str, Any]], None]

#: How many sources are decided on at once. It saves the time that the store takes to answer, and none of our own.
_PLANNERS = 4


@dataclass(frozen=True)
class Options:
    """What may be asked of a run."""

    dry_run: bool = False
    #: The sources wanted, if not all.
    sources: set[str] | None = None
    #: How many crawls to archive at most.
    limit: int | None = None
    #: Whether to look at everything again, whatever is remembered.
    refresh: bool = False


def _silent(_: dict[str, Any]) -> None:
    pass


def _no_step(_crawl_id: str, _name: str) -> None:
    pass


def archive(
    config: Config,
    options: Options,
    report: Report = _silent,
    *,
    step: Callable[[str, str], None] = _no_step,
    client: S3Client | None = None,
) -> dict[str, Any]:
    """
    Archive crawls.

    :param report: called, from this thread, with events: ``start``, ``progress``, ``crawl`` and ``end``
    :param step: called, from any thread, with the id of a crawl and the name of each step that was taken with it
    :param client: an S3 client, if not the one that the settings describe
    :returns: ``summary``, ``crawls`` by id, ``failed`` by id, ``ignored`` by path, and ``notes``
    :raises KingfisherError: if nothing was begun: another run is at work, or the disk, the bucket or Kingfisher
        Process' database cannot be used
    """
    client = client or connect(config.s3)
    bucket = Bucket(client, config.bucket, config.storage_class)
    with ExitStack() as stack:
        lock = None
        if not options.dry_run:
            stack.enter_context(host_lock(config.lock_file))
            lock = stack.enter_context(BucketLock(bucket, config.lock_file))
        cache = Cache(config.cache_file, read_only=options.dry_run)
        stack.callback(cache.close)
        return _Run(config, options, bucket, lock, cache, report, step).run()


class _Run:
    def __init__(
        self,
        config: Config,
        options: Options,
        bucket: Bucket,
        lock: BucketLock | None,
        cache: Cache,
        report: Report,
        step: Callable[[str, str], None],
    ) -> None:
        self._started = time.monotonic()
        self._config = config
        self._options = options
        self._bucket = bucket
        self._lock = lock
        self._cache = cache
        self._report = report
        self._step = step
        self._events: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._crawls: dict[str, dict[str, Any]] = {}
        self._failed: dict[str, str] = {}
        self._notes: list[str] = []
        self._mutex = threading.Lock()
        self._stopped: str | None = None
        self._done = self._done_bytes = self._sent = self._read = 0
        #: How much of the crawls that are being archived was read, in bytes.
        self._reading: dict[str, int] = {}
        self._total = self._total_bytes = 0

    def run(self) -> dict[str, Any]:
        if self._cache.problem:
            self._notes.append(self._cache.problem)
        if self._lock and self._lock.taken_over:
            self._notes.append(f"took over the bucket's lock of {self._lock.taken_over}")
        if self._lock and (count := self._bucket.abort_uploads()):
            self._notes.append(f"aborted {count} uploads that an interrupted run left")
        disk = crawls.find(self._config.data_directory, self._options.sources)
        if self._lock and disk.aside:
            self._put_back(disk.aside)
            disk = crawls.find(self._config.data_directory, self._options.sources)
        self._failed |= disk.failed
        remote = Remote(self._bucket, self._cache, self._options.sources, read_only=self._lock is None)
        for source in (self._options.sources or set()) - disk.crawls.keys() - {c.source_id for c in disk.hidden}:
            if source in remote.sources or source in disk.failed:
                self._notes.append(f"source {source} has no crawls in {self._config.data_directory}")
            else:
                known = crawls.find(self._config.data_directory).crawls
                self._failed[source] = f"source {source} has neither crawls nor archives{nearest(source, known)}"
        self._planner = Planner(self._config, self._cache, remote, disk, refresh=self._options.refresh)
        if self._lock:
            self._recover(remote)
            for crawl in disk.hidden:
                self._finish_deletion(crawl)
        plans: dict[str, list[Planned]] = {}
        left = self._options.limit
        sources = sorted(disk.crawls)
        with ThreadPoolExecutor(_PLANNERS, thread_name_prefix="plan") as pool:
            for source, plan in zip(sources, pool.map(self._planner.plan, sources), strict=True):
                plans[source] = _at_most(plan, left)
                left = None if left is None else left - _count_due(plans[source])
                self._record(plans[source])
        self._total = sum(_is_due(p) for plan in plans.values() for p in plan)
        self._total_bytes = sum(p.survey.bytes for plan in plans.values() for p in plan if _is_due(p) and p.survey)
        self._tell("start", dry_run=self._options.dry_run)
        self._deliver()
        if self._lock:
            self._execute(plans, self._lock)
        result = self._result(disk)
        self._tell("end", summary=result["summary"])
        self._deliver()
        return result

    def _recover(self, remote: Remote) -> None:
        for archive in remote.interrupted():
            try:
                if remote.recover(archive):
                    self._notes.append(f"finished an interrupted replacement of {archive.prefix}")
            except StoreError as e:
                self._failed[archive.prefix] = f"{archive.prefix}: {e}"

    def _put_back(self, aside: list[crawls.Crawl]) -> None:
        for crawl in aside:
            try:
                local.put_back(crawl)
            except (KingfisherError, OSError) as e:
                self._failed[crawl.id] = f"{crawl.id}: {e}"

    def _finish_deletion(self, crawl: crawls.Crawl) -> None:
        """Delete what is left of a crawl that was archived or pruned, and its log."""
        try:
            archive = self._planner.remote.archive(crawl.source_id, crawl.period)
            document = self._planner.remote.document(archive)
            stored = metadata.stored(document, "log") if document and document["id"] == crawl.id else None
            local.finish_interrupted(crawl, self._planner.find_log(crawl), stored, self._cache.decision(crawl.id))
            self._notes.append(f"finished the interrupted deletion of {crawl.id}")
        except (KingfisherError, OSError) as e:
            self._failed[crawl.id] = f"{crawl.id}: what is left of it at {crawl.hidden} cannot be deleted: {e}"

    def _record(self, plan: list[Planned]) -> None:
        for planned in plan:
            self._planner.record(planned)
            with self._mutex:
                self._crawls.setdefault(planned.crawl.id, {}).update(self._describe(planned))
                if planned.error:
                    self._failed[planned.crawl.id] = planned.error

    def _describe(self, planned: Planned) -> dict[str, Any]:
        return {
            "decision": planned.decision.action,
            "reason": planned.decision.reason,
            "bytes": planned.survey.bytes if planned.survey else None,
            "files": planned.log.files if planned.log else None,
            "errors": planned.log.errors if planned.log else None,
            "destination": f"s3://{self._config.bucket}/{planned.crawl.prefix}/"
            if planned.decision.action == ARCHIVE
            else None,
            "compared_with": planned.decision.compared_with,
        }

    def _execute(self, plans: dict[str, list[Planned]], lock: BucketLock) -> None:
        with ExitStack() as stack:
            senders = Senders()
            stack.callback(senders.close)
            pool = stack.enter_context(ThreadPoolExecutor(self._config.workers, thread_name_prefix="archive"))
            running = {pool.submit(self._source, source, plan, lock, senders) for source, plan in plans.items()}
            try:
                while running:
                    done, running = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                    self._deliver()
                    for future in done:
                        future.result()
            except BaseException:
                self._stopped = "the run was interrupted"  # or it would go on with all that was planned
                raise

    def _deliver(self) -> None:
        """Report from the thread that began the run, since listeners may not take calls from others."""
        while not self._events.empty():
            self._report(self._events.get())

    def _source(self, source: str, plan: list[Planned], lock: BucketLock, senders: Senders) -> None:
        """Archive the crawls of a source one after the other. After a failure, decide anew on those that remain."""
        tried: dict[str, str] = {}
        while planned := next((p for p in plan if _is_due(p)), None):
            if self._stopped:
                self._record([replace(p, decision=Decision(SKIP, "stopped")) for p in plan if _is_due(p)])
                return
            try:
                self._one(planned, lock, senders)
                plan.remove(planned)
            except Exception as e:  # noqa: BLE001 - one crawl's failure does not stop the others
                error = f"{planned.crawl.id}: {crawls.explain(e)}"
                tried[planned.crawl.id] = error
                if isinstance(e, (LockedError, UnreachableError)):
                    self._stopped = error
                left = None if self._options.limit is None else _count_due(plan) - 1
                self._planner.tried(planned.crawl)
                plan = _at_most(self._planner.plan(source, tried), left)
                self._record(plan)
                self._tell("crawl", id=planned.crawl.id, result="failed", error=error)

    def _one(self, planned: Planned, lock: BucketLock, senders: Senders) -> None:
        crawl, survey, log = planned.crawl, planned.survey, planned.log
        assert survey
        assert log
        started = time.monotonic()

        def step(name: str) -> None:
            self._step(crawl.id, name)

        def progress(read: int) -> None:
            with self._mutex:
                self._reading[crawl.id] = read
                everywhere = self._done_bytes + sum(self._reading.values())
            self._tell("progress", id=crawl.id, crawl_bytes=survey.bytes, crawl_read=read, read=everywhere)

        remote = self._planner.remote
        archive = remote.archive(crawl.source_id, crawl.period)
        entry = self._crawls[crawl.id]
        if planned.archived:
            document = remote.document(archive) or {}
            self._verify(crawl, document)
            log_identity = local.is_same(log.path, metadata.stored(document, "log") or metadata.Stored(-1, ""))
        else:
            job = Job(
                crawl,
                survey,
                log.path,
                log.fingerprint,
                log.files,
                log.errors,
                archive,
                remote.document(archive),
                remote.whole(archive),
            )
            committed = commit(self._bucket, lock, senders, job, step, progress)
            log_identity = committed.log_identity
            with self._mutex:
                self._sent += committed.sent
                self._read += survey.bytes
            entry["compressed_bytes"] = committed.document["data"]["size"]
        entry["result"] = "archived"
        self._planner.tried(crawl)
        local.delete(crawl, survey.fingerprint, log.path, log_identity, step)
        self._planner.deleted(crawl)
        entry["seconds"] = round(time.monotonic() - started, 2)
        with self._mutex:
            self._reading.pop(crawl.id, None)
            self._done += 1
            self._done_bytes += survey.bytes
        self._tell("crawl", id=crawl.id, result="archived", bytes=survey.bytes)

    def _verify(self, crawl: crawls.Crawl, document: dict[str, Any]) -> None:
        for name, key in ((DATA, "data"), (LOG, "log")):
            stored = metadata.stored(document, key)
            wrong = self._bucket.differs(f"{crawl.prefix}/{name}", stored) if stored else "is not described"
            if wrong:
                raise StoreError(f"{crawl.prefix}/{name} {wrong}, so the crawl on disk was not deleted")

    def _tell(self, event: str, **more: Any) -> None:
        seconds = time.monotonic() - self._started
        self._events.put(
            {
                "event": event,
                "done": self._done,
                "total": self._total,
                "done_bytes": self._done_bytes,
                "total_bytes": self._total_bytes,
                "failed": len(self._failed),
                "seconds": round(seconds, 1),
                **more,
            }
        )

    def _result(self, disk: crawls.DataDirectory) -> dict[str, Any]:
        seconds = time.monotonic() - self._started
        counts = Counter(entry["decision"] for entry in self._crawls.values())
        size = self._total_bytes if self._options.dry_run else self._read
        return {
            "summary": {
                "dry_run": self._options.dry_run,
                "crawls": len(self._crawls),
                **{decision: counts[decision] for decision in (ARCHIVE, KEEP, SKIP, REJECT)},
                "archived": sum(entry.get("result") == "archived" for entry in self._crawls.values()),
                "failed": len(self._failed),
                "bytes": size,
                "sent_bytes": self._sent,
                "seconds": round(seconds, 2),
                "bytes_per_second": round(size / seconds) if seconds and not self._options.dry_run else 0,
            },
            "crawls": {
                crawl_id: {key: value for key, value in entry.items() if value is not None}
                for crawl_id, entry in sorted(self._crawls.items())
            },
            "failed": dict(sorted(self._failed.items())),
            "ignored": dict(sorted(disk.ignored.items())),
            "notes": self._notes,
        }


def _is_due(planned: Planned) -> bool:
    return planned.decision.action == ARCHIVE and planned.error is None


def _count_due(plan: list[Planned]) -> int:
    return sum(map(_is_due, plan))


def _at_most(plan: list[Planned], count: int | None) -> list[Planned]:
    """Put off what is due beyond a number of crawls."""
    limited = []
    for planned in plan:
        if count is not None and _is_due(planned):
            count -= 1
            limited.append(replace(planned, decision=Decision(SKIP, "limit")) if count < 0 else planned)
        else:
            limited.append(planned)
    return limited
