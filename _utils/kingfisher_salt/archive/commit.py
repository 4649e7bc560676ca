"""Send one crawl to the bucket, so that whoever looks at any moment finds a whole archive or none."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ChangedError, KingfisherError, StoreError
from . import metadata, replacing
from .bucket import DATA, LOG, METADATA, REPLACING, Archive, Bucket
from .crawl import Crawl, Survey, show, survey
from .locks import BucketLock
from .pack import Pack
from .upload import Senders, Upload

_READ = 1 << 20
#: Label of every object that we write: the id of its crawl. An object without it is somebody else's.
LABEL = "kingfisher-crawl"

Step = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """A crawl to archive, as it was when that was decided."""

    crawl: Crawl
    survey: Survey
    log: Path
    #: What changes with the log.
    log_fingerprint: str
    files: int
    errors: int
    #: What the bucket has for its month.
    archive: Archive
    #: metadata.json of the archive that it replaces, complete, and whether that archive is whole.
    old: dict[str, Any] | None = None
    whole: bool = True


@dataclass(frozen=True)
class Committed:
    """What is in the bucket now, and what that took."""

    document: dict[str, Any]
    log_identity: tuple[int, ...]
    sent: int


def commit(
    bucket: Bucket, lock: BucketLock, senders: Senders, job: Job, step: Step, progress: Callable[[int], None]
) -> Committed:
    """
    Archive a crawl and verify that it arrived. Nothing local is deleted here.

    :param step: called with the name of each step that was done
    :param progress: called now and then with the number of bytes that were read
    :raises ChangedError: if the crawl or its log changes meanwhile
    :raises StoreError: if the store does not do what it should; what it held before is visible again if that can be
    :raises LockedError: if another run may have taken over
    """
    prefix, label = job.archive.prefix, {LABEL: job.crawl.id}
    with ExitStack() as stack:
        data = Upload(bucket, f"{prefix}/{DATA}", senders, job.survey.bytes, label)
        stack.callback(_abort, data)
        pack = Pack(job.crawl)
        _read_data(pack, data, job, progress)
        step("read")
        log = Upload(bucket, f"{prefix}/{LOG}", senders, job.log.stat().st_size, label)
        stack.callback(_abort, log)
        identity = _read_log(job, log)
        stored_data, stored_log = data.finish(), log.finish()
        document = metadata.dump(job.crawl.id, pack.packed, job.files, job.errors, stored_data, stored_log)
        step("sent")
        lock.check()
        try:
            if job.old is not None:
                replacing.begin(bucket, job.archive, job.old, document, whole=job.whole)
                step("begin")
                bucket.delete(f"{prefix}/{METADATA}")
                step("unpublish")
            data.commit()
            step("data")
            log.commit()
            step("log")
            bucket.verify(data.key, stored_data)
            bucket.verify(log.key, stored_log)
            step("verify")
            lock.check()
            bucket.put(f"{prefix}/{METADATA}", document)
            step("publish")
        except StoreError:
            _undo(bucket, job)
            raise
        if job.old is not None:
            bucket.delete(f"{prefix}/{REPLACING}")
            step("end")
    return Committed(metadata.parse(document) or {}, identity, data.sent + log.sent)


def _abort(upload: Upload) -> None:
    with suppress(KingfisherError):  # the next run does it, or the store's lifecycle rule
        upload.abort()


def _undo(bucket: Bucket, job: Job) -> None:
    """Make the archive that was being replaced visible again, if it is whole."""
    if job.old is not None:
        with suppress(KingfisherError):  # the next run does it
            replacing.finish(bucket, bucket.archive(job.crawl.source_id, job.crawl.period))


def _read_data(pack: Pack, upload: Upload, job: Job, progress: Callable[[int], None]) -> None:
    told = time.monotonic()
    for chunk in pack:
        upload.write(chunk)
        if time.monotonic() - told > 1:
            told = time.monotonic()
            progress(pack.read)
    if pack.fingerprint != job.survey.fingerprint or survey(job.crawl.directory) != job.survey:
        raise ChangedError("it changed since the decision")


def _read_log(job: Job, upload: Upload) -> tuple[int, ...]:
    path = job.log
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(fd, "rb", buffering=0) as file:
        before = identity(os.fstat(fd))
        if _fingerprint(before) != job.log_fingerprint:
            raise ChangedError(f"its log {show(path.name)} changed since the decision")
        while data := file.read(_READ):
            upload.write(data)
        if identity(os.fstat(fd)) != before or identity(path.lstat()) != before:
            raise ChangedError(f"its log {show(path.name)} changed while it was read")
    return before


def identity(status: os.stat_result) -> tuple[int, ...]:
    """Return what tells one state of a file from another."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def log_fingerprint(path: Path) -> str:
    """Return what changes with a log."""
    return _fingerprint(identity(path.lstat()))


def _fingerprint(status: tuple[int, ...]) -> str:
    return ":".join(map(str, status))
