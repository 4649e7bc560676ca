"""Delete crawls and logs, so that whoever is killed half-way leaves no half of a crawl that looks like one."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

from ..crawl_logs import companions
from ..errors import ChangedError, KingfisherError
from .commit import identity
from .crawl import Crawl, survey
from .metadata import Stored

_READ = 1 << 20


def delete(
    crawl: Crawl, fingerprint: str, log: Path | None, log_identity: tuple[int, ...] | None, step: Callable[[str], None]
) -> None:
    """
    Delete a crawl directory and its log, provided that both are still what they were.

    The directory is renamed first. Whatever happens then, :func:`finish` goes on from there.

    :raises ChangedError: if the directory is not what was archived or decided upon; it is as it was then
    :raises KingfisherError: if it cannot be deleted
    """
    try:
        if crawl.hidden.exists():
            finish(crawl)
        crawl.directory.rename(crawl.hidden)
        try:
            unchanged = survey(crawl.hidden).fingerprint == fingerprint
        except ChangedError:
            unchanged = False
        if not unchanged:
            crawl.hidden.rename(crawl.directory)
            raise ChangedError("it changed before it was deleted, so it was not")
        step("hide")
        if log and log_identity:
            delete_log(log, log_identity)
            step("delete_log")
        finish(crawl)
        step("delete_data")
    except OSError as e:
        raise KingfisherError(
            f"{crawl.directory} cannot be deleted: {e.strerror} ({e.filename}): let this user delete it, and rerun"
        ) from e


def finish(crawl: Crawl) -> None:
    """Delete what is left of a crawl whose deletion has begun."""
    shutil.rmtree(crawl.hidden)


def delete_log(log: Path, log_identity: tuple[int, ...]) -> bool:
    """Delete a log and what was made of it, if it is still the same. Returns whether it was."""
    try:
        if identity(log.lstat()) != log_identity:
            return False
        for path in (*companions(log), log):
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    return True


def is_same(log: Path, stored: Stored) -> tuple[int, ...] | None:
    """Return a log's identity if its content is what was archived, else None."""
    with log.open("rb") as file:
        status = os.fstat(file.fileno())
        if status.st_size != stored.size:
            return None
        crc32 = 0
        while data := file.read(_READ):
            crc32 = zlib.crc32(data, crc32)
    return identity(status) if f"{crc32:08x}" == stored.crc32 else None
