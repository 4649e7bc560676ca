"""Delete old crawls and logs that a recorded decision allows to delete, and no others."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ..crawl_logs import LogIndex
from ..errors import KingfisherError
from . import crawl as crawls
from . import local
from .bucket import Bucket, connect
from .cache import Cache, Recorded
from .commit import identity, log_fingerprint
from .config import Config
from .crawl import Crawl, parse_data_version
from .decision import KEEP, REJECT
from .locks import BucketLock, host_lock
from .plan import DAY
from .remote import Remote

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: Reasons that lie in the crawl itself. ``no_log_file`` and ``not_loaded`` may come of a wrong setting, or pass.
FINAL = {"no_data_files", "not_finished", "not_complete", "not_clean_enough"}


def prune(
    config: Config,
    days: float,
    *,
    sources: set[str] | None = None,
    dry_run: bool = False,
    client: S3Client | None = None,
) -> dict[str, Any]:
    """
    Delete crawls to which nothing was written in so many days, with their logs.

    :returns: ``summary``; ``deleted``, by id, with reason and bytes; ``kept``, by id, with what stands in the way;
        ``failed``, by id. In a dry run, ``deleted`` is called ``would_delete``
    :raises KingfisherError: if another run is at work, or the disk or the bucket cannot be used
    """
    bucket = Bucket(client or connect(config.s3), config.bucket, config.storage_class)
    with ExitStack() as stack:
        if not dry_run:
            stack.enter_context(host_lock(config.lock_file))
            stack.enter_context(BucketLock(bucket, config.lock_file))
        cache = Cache(config.cache_file, read_only=dry_run)
        stack.callback(cache.close)
        disk = crawls.find(config.data_directory, sources)
        remote = Remote(bucket, cache, set(disk.crawls), read_only=True)
        logs = LogIndex(config.logs_directory)
        before = time.time() - days * DAY
        done = "would_delete" if dry_run else "deleted"
        result: dict[str, Any] = {done: {}, "kept": {}, "failed": dict(disk.failed)}
        for crawl in disk.aside:
            result["kept"][crawl.id] = f"it is set aside at {crawl.aside}: run kingfisher.archive"
        for crawl in disk.hidden:
            result["kept"][crawl.id] = "its deletion was interrupted: run kingfisher.archive, which finishes it"
        for crawl in (crawl for source in disk.crawls.values() for crawl in source):
            try:
                survey = crawls.survey(crawl.directory)
                recorded = cache.decision(crawl.id)
                if survey.newest > before:
                    result["kept"][crawl.id] = f"it was written to in the last {days:g} days"
                elif obstacle := _obstacle(crawl, survey, recorded, remote):
                    result["kept"][crawl.id] = obstacle
                else:
                    assert recorded
                    if not dry_run:
                        _delete(crawl, survey, recorded, logs)
                        cache.forget(crawl.id)
                    result[done][crawl.id] = {"reason": recorded.reason, "bytes": survey.bytes}
            except (KingfisherError, OSError) as e:
                result["failed"][crawl.id] = str(e)
    summary = {
        "dry_run": dry_run,
        "days": days,
        **{key: len(value) for key, value in result.items()},
        "bytes": sum(entry["bytes"] for entry in result[done].values()),
    }
    return {"summary": summary, **result, "ignored": disk.ignored}


def _obstacle(crawl: Crawl, survey: crawls.Survey, recorded: Recorded | None, remote: Remote) -> str | None:
    """Return what stands in the way of deleting a crawl, or None."""
    if recorded is None:
        return "no decision on it is recorded: run kingfisher.archive"
    if recorded.fingerprint != survey.fingerprint:
        return "it changed since the recorded decision: run kingfisher.archive"
    if recorded.decision == REJECT and recorded.reason in FINAL:
        return None
    if recorded.compared_with == crawl.id:
        return "the archive of this very crawl has other content: compare the two with kingfisher.restore"
    if recorded.decision == KEEP and recorded.compared_with:
        return _not_archived(crawl.source_id, recorded.compared_with, remote)
    return f"the recorded decision is {recorded.decision} ({recorded.reason}), which does not allow it"


def _not_archived(source_id: str, crawl_id: str, remote: Remote) -> str | None:
    """Return what is wrong with the archive of the crawl that was preferred, or None."""
    version = parse_data_version(crawl_id.rpartition("/")[2])
    archive = remote.archive(source_id, (version.year, version.month)) if version else None
    document = remote.document(archive) if archive and archive.published else None
    if document and document["id"] == crawl_id:
        return None
    return f"{crawl_id}, which was to be archived in its place, is not in the bucket: run kingfisher.archive"


def _delete(crawl: Crawl, survey: crawls.Survey, recorded: Recorded, logs: LogIndex) -> None:
    log = logs.find(crawl.source_id, crawl.directory, crawl.data_version) if recorded.log else None
    log_identity = None
    if log and crawls.show(log.name) == recorded.log and log_fingerprint(log) == recorded.log_fingerprint:
        log_identity = identity(log.stat())
    local.delete(crawl, survey.fingerprint, log, log_identity, lambda _: None)
