"""What is on disk, and what is in the bucket."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from . import crawl as crawls_on_disk
from . import metadata
from .bucket import DATA, LOG, METADATA, Archive, Bucket, connect
from .cache import Cache
from .config import Config

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_WORKERS = 8


def crawls(config: Config, sources: set[str] | None = None) -> dict[str, Any]:
    """Return the crawls on disk, by id: bytes, files, when last written, and the decision that was recorded last."""
    cache = Cache(config.cache_file, read_only=True)
    found = {}
    for source in crawls_on_disk.find(config.data_directory, sources).crawls.values():
        for crawl in source:
            survey = crawls_on_disk.survey(crawl.directory)
            recorded = cache.decision(crawl.id)
            current = recorded if recorded and recorded.fingerprint == survey.fingerprint else None
            written = datetime.fromtimestamp(survey.newest, timezone.utc)
            found[crawl.id] = {
                "bytes": survey.bytes,
                "files": survey.data_files,
                "written": written.isoformat(timespec="seconds"),
                "decision": current.decision if current else None,
                "reason": current.reason if current else None,
            }
    cache.close()
    return found


def archives(config: Config, sources: set[str] | None = None, client: S3Client | None = None) -> dict[str, Any]:
    """Return the archives in the bucket, by prefix: the id of the crawl, bytes, files, errors, compressed bytes."""
    bucket = Bucket(client or connect(config.s3, _WORKERS + 2), config.bucket)
    cache = Cache(config.cache_file, read_only=True)

    def describe(archive: Archive) -> tuple[str, dict[str, Any]]:
        document: dict[str, Any] = {}
        if archive.published:
            etag = archive.objects[METADATA][1]
            document = cache.metadata(archive.prefix, etag) or (
                metadata.parse(bucket.get(f"{archive.prefix}/{METADATA}") or b"") or {}
            )
        return archive.prefix, {
            "id": document.get("id"),
            "bytes": document.get("bytes"),
            "files": document.get("files_count"),
            "errors": document.get("errors_count"),
            "compressed_bytes": archive.objects.get(DATA, (None, ""))[0],
            "complete": not metadata.missing(document) and DATA in archive.objects and LOG in archive.objects,
        }

    found = [archive for months in bucket.archives(sources).values() for archive in months.values()]
    with ThreadPoolExecutor(_WORKERS) as pool:
        described = dict(sorted(pool.map(describe, found)))
    cache.close()
    return described
