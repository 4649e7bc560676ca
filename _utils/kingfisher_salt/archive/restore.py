"""Get an archived crawl back, as a stream: no copy of the archive is made on the way."""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import KingfisherError
from . import local, metadata, unpack
from .bucket import DATA, LOG, METADATA, Bucket, connect
from .checksum import Checksum
from .config import Config

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_READ = 1 << 20


def restore(
    config: Config, source_id: str, month: str, target: Path, *, dry_run: bool = False, client: S3Client | None = None
) -> dict[str, Any]:
    """
    Unpack an archive to ``TARGET/SOURCE/YYYYMMDD_HHMMSS``, and its log beside it.

    Everything is read and compared with metadata.json before the directory gets its name.

    :param month: like ``2024-05``
    :returns: ``id``, ``directory``, ``log``, ``bytes``, ``files``, ``seconds``
    :raises KingfisherError: if there is no such archive, it is damaged, or the target cannot be used
    """
    started = time.monotonic()
    if not (match := re.fullmatch(r"(\d{4})-(0[1-9]|1[0-2])", month)):
        raise KingfisherError(f"month must be like 2024-05, not {month!r}")
    bucket = Bucket(client or connect(config.s3), config.bucket, config.storage_class)
    archive = bucket.archive(source_id, (int(match[1]), int(match[2])))
    if not archive.published:
        known = sorted(
            f"{y}-{m:02d}" for (y, m), a in bucket.archives({source_id}).get(source_id, {}).items() if a.published
        )
        there = f"there are {', '.join(known)}" if known else "see kingfisher.archives for those that there are"
        raise KingfisherError(f"{archive.prefix} is not archived in bucket {bucket.name}: {there}")
    document = metadata.parse(bucket.get(f"{archive.prefix}/{METADATA}") or b"") or {}
    if missing := metadata.missing(document):
        raise KingfisherError(
            f"{archive.prefix}/{METADATA} does not say {', '.join(missing)}: have it completed by "
            f"kingfisher.verify source={source_id}"
        )
    crawl_id = _safe_id(document["id"], archive.prefix)
    directory = _target(config, target / crawl_id)
    log = directory.with_name(f"{directory.name}.log") if LOG in archive.objects else None
    for path in (directory, log):
        if path and os.path.lexists(path) and not _is_left_over(path, directory, document):
            raise KingfisherError(f"{path} exists and is not overwritten: choose another target, or move it away")
    result: dict[str, Any] = {
        "id": crawl_id,
        "directory": str(directory),
        "log": str(log) if log else None,
        "bytes": document["bytes"],
        "files": document["files_count"],
        "dry_run": dry_run,
    }
    if dry_run:
        return result
    partial = directory.with_name(f".{directory.name}.restoring")
    partial_log = directory.with_name(f".{directory.name}.log.restoring")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        files = _unpack(bucket, f"{archive.prefix}/{DATA}", partial, document)
        if log:
            _download(bucket, f"{archive.prefix}/{LOG}", partial_log, metadata.stored(document, "log"))
            partial_log.rename(log)
        partial.rename(directory)
    except (OSError, OverflowError, ValueError) as e:
        raise KingfisherError(
            f"{directory} cannot be written: {getattr(e, 'strerror', e)}: make room, or choose another target"
        ) from e
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):
            partial_log.unlink()
    return {**result, "files": files, "seconds": round(time.monotonic() - started, 2)}


def _safe_id(crawl_id: str, prefix: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[0-9]{8}_[0-9]{6}", crawl_id, re.ASCII):
        raise KingfisherError(f"{prefix}/{METADATA} has the id {crawl_id!r}, which is no SOURCE/YYYYMMDD_HHMMSS")
    return crawl_id


def _is_left_over(path: Path, directory: Path, document: dict[str, Any]) -> bool:
    """Return whether a path is the log of a restoration that was killed before the directory got its name."""
    stored = metadata.stored(document, "log")
    left = path != directory and not os.path.lexists(directory) and path.is_file() and not path.is_symlink()
    return bool(left and stored and local.is_same(path, stored))


def _target(config: Config, directory: Path) -> Path:
    target = directory.parents[1]
    if not target.is_absolute():
        raise KingfisherError(f"target must be an absolute path, not {target}")
    resolved = directory.parent.resolve()
    for name in ("data_directory", "logs_directory"):
        forbidden = getattr(config, name).resolve()
        if resolved == forbidden or forbidden in resolved.parents:
            raise KingfisherError(
                f"target {target} is in kingfisher_archive:{name} ({forbidden}), where it would be archived again: "
                "choose another target"
            )
    return resolved / directory.name


def _unpack(bucket: Bucket, key: str, directory: Path, document: dict[str, Any]) -> int:
    reader = unpack.Reader(bucket.open(key), key)
    files = 0
    checksum = Checksum()
    directories: list[tuple[Path, int, int]] = []
    for member in reader:
        path = directory / member.path
        if member.content is None:
            path.mkdir(exist_ok=True, parents=True)
            directories.append((path, member.info.mode & 0o777, int(member.info.mtime)))
            continue
        path.parent.mkdir(exist_ok=True, parents=True)
        with path.open("xb") as file:
            while data := member.content.read(_READ):
                checksum.update(member.path, data)
                if checksum.bytes > document["bytes"]:
                    raise KingfisherError(f"{key} has more bytes of files than the {document['bytes']} of {METADATA}")
                file.write(data)
        path.chmod(member.info.mode & 0o777)
        os.utime(path, (member.info.mtime, member.info.mtime))
        files += 1
    if checksum.bytes != document["bytes"]:
        raise KingfisherError(f"{key} has {checksum.bytes} bytes of files, and {METADATA} says {document['bytes']}")
    described = metadata.stored(document, "data")
    if described and (reader.stored.size, reader.stored.crc32) != (described.size, described.crc32):
        raise KingfisherError(f"{key} is not what {METADATA} describes: look at kingfisher.verify deep=True")
    if checksum.all != document["checksum"] and _checksum(directory) != document["checksum"]:
        raise KingfisherError(f"{key} has another checksum than {METADATA} says: look at kingfisher.verify deep=True")
    for path, mode, mtime in reversed(directories):
        path.chmod(mode | 0o700)
        os.utime(path, (mtime, mtime))
    return files


def _checksum(directory: Path) -> str:
    """Return the checksum of what was unpacked, for archives whose members have another order."""
    checksum = Checksum()
    for root, directories, files in os.walk(directory):
        directories.sort()
        for name in sorted(files):
            with Path(root, name).open("rb") as file:
                while data := file.read(_READ):
                    checksum.update(name, data)
    return checksum.all


def _download(bucket: Bucket, key: str, path: Path, wanted: metadata.Stored | None) -> None:
    counted = unpack.Counted(bucket.open(key), key)
    with path.open("wb") as file:
        for data in iter(lambda: counted.read(_READ), b""):
            file.write(data)
    if wanted and (counted.size, counted.stored.crc32) != (wanted.size, wanted.crc32):
        raise KingfisherError(f"{key} is not what {METADATA} describes: look at kingfisher.verify")
