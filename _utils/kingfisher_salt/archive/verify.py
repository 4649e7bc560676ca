"""Check that every archive is what its metadata.json says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..errors import KingfisherError
from ..settings import nearest
from . import metadata, unpack
from .bucket import DATA, LOG, METADATA, REPLACING, Archive, Bucket, connect
from .commit import LABEL
from .config import Config
from .remote import complete

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_WORKERS = 8


def verify(
    config: Config,
    sources: set[str] | None = None,
    *,
    deep: bool = False,
    dry_run: bool = False,
    client: S3Client | None = None,
) -> dict[str, Any]:
    """
    Compare metadata.json with the objects that it describes.

    :param deep: whether to read every archive back, and check its members and its checksum
    :param dry_run: whether to leave incomplete metadata.json files as they are
    :returns: ``summary``; ``archives``, by prefix, with ``id``, ``bytes`` and ``result``; ``failed``, by prefix
    """
    bucket = Bucket(client or connect(config.s3, _WORKERS + 2), config.bucket, config.storage_class)
    listed = bucket.archives(sources)
    found = [archive for months in listed.values() for archive in months.values()]
    result: dict[str, Any] = {"archives": {}, "failed": {}}
    for source in (sources or set()) - listed.keys():
        result["failed"][source] = f"source {source} has no archives{nearest(source, bucket.archives())}"

    def one(archive: Archive) -> None:
        try:
            result["archives"][archive.prefix] = _verify(bucket, archive, deep=deep, write=not dry_run)
        except KingfisherError as e:
            result["failed"][archive.prefix] = str(e)

    with ThreadPoolExecutor(2 if deep else _WORKERS) as pool:
        list(pool.map(one, found))
    counted = [entry["result"] for entry in result["archives"].values()]
    summary = {
        "deep": deep,
        "dry_run": dry_run,
        "archives": len(found),
        "verified": len(counted),
        "completed": counted.count("completed"),
        "failed": len(result["failed"]),
        "bytes": sum(entry["bytes"] for entry in result["archives"].values()),
    }
    return {"summary": summary, **{key: dict(sorted(value.items())) for key, value in result.items()}}


def _verify(bucket: Bucket, archive: Archive, *, deep: bool, write: bool) -> dict[str, Any]:
    """Return what there is to say, or raise KingfisherError with what is wrong and what to do."""
    prefix = archive.prefix
    if REPLACING in archive.objects and not archive.published:
        raise KingfisherError(f"{prefix} was being replaced when a run was interrupted: run kingfisher.archive again")
    if not archive.published:
        return _without_metadata(bucket, archive, deep=deep, write=write)
    document = metadata.parse(bucket.get(f"{prefix}/{METADATA}") or b"") or {}
    outcome = "verified"
    if metadata.missing(document) or (deep and not metadata.stored(document, "data")):
        document = complete(bucket, archive, document, write=False)
        outcome = "completed"
    for name, key in ((DATA, "data"), (LOG, "log")):
        stored = metadata.stored(document, key)
        if stored and (wrong := bucket.differs(f"{prefix}/{name}", stored)):
            raise KingfisherError(
                f"{prefix}/{name} {wrong}: restore it from a copy, or delete {prefix}/ and crawl again"
            )
        if key == "data" and not stored and name not in archive.objects:
            raise KingfisherError(f"{prefix}/{name} is not there: restore it from a copy, or delete {prefix}/")
    if deep:
        _read_back(bucket, archive, document)
    if write and outcome == "completed":
        bucket.put(f"{prefix}/{METADATA}", metadata.complete(document))
    return {"id": document["id"], "bytes": document["bytes"], "result": outcome}


def _without_metadata(bucket: Bucket, archive: Archive, *, deep: bool, write: bool) -> dict[str, Any]:
    prefix = archive.prefix
    head = bucket.head(f"{prefix}/{DATA}")
    if head is None:
        raise KingfisherError(f"{prefix} has neither {DATA} nor {METADATA}: look at what is there, and move it away")
    if LABEL in head["Metadata"]:
        raise KingfisherError(f"{prefix} was being written when a run was interrupted: run kingfisher.archive again")
    if not deep:
        raise KingfisherError(f"{prefix} has no {METADATA}: have it made from {DATA} by kingfisher.verify deep=True")
    document = complete(bucket, archive, {}, write=write)
    return {"id": document["id"], "bytes": document["bytes"], "result": "completed"}


def _read_back(bucket: Bucket, archive: Archive, document: dict[str, Any]) -> None:
    key = f"{archive.prefix}/{DATA}"
    contents = unpack.read(lambda: bucket.open(key), key)
    described = document["data"] if metadata.stored(document, "data") else {}
    for what, found, wanted in (
        ("crawl", contents.crawl_id, document["id"]),
        ("bytes", contents.packed.checksum.bytes, document["bytes"]),
        ("checksum", contents.packed.checksum.all, document["checksum"]),
        ("members", contents.packed.members, described.get("members", contents.packed.members)),
        ("CRC-32", contents.stored.crc32, described.get("crc32", contents.stored.crc32)),
    ):
        if found != wanted:
            raise KingfisherError(
                f"{key} has the {what} {found}, and {METADATA} says {wanted}: restore it from a copy"
            )
