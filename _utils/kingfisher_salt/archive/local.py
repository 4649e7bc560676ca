"""Delete crawls and logs, so that whoever is killed half-way leaves no half of a crawl that looks like one."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

from ..crawl_logs import companions
from ..errors import ChangedError, KingfisherError
from .cache import Recorded
from .commit import identity, log_fingerprint
from .crawl import Crawl, show, survey
from .metadata import Stored

_READ = 1 << 20


def delete(
    crawl: Crawl, fingerprint: str, log: Path | None, log_identity: tuple[int, ...] | None, step: Callable[[str], None]
) -> None:
    """
    Delete a crawl directory and its log, provided that both are still what they were.

    The directory is renamed first, so that nobody writes to it any more, then looked at once more, then renamed again.
    Whoever is killed in between leaves it to :func:`put_back`, and after that to :func:`finish_interrupted`.

    :raises ChangedError: if the directory is not what was archived or decided upon; it is as it was then
    :raises KingfisherError: if it cannot be deleted
    """
    try:
        if crawl.hidden.exists():
            finish(crawl)
        crawl.directory.rename(crawl.aside)
        step("set_aside")
        try:
            unchanged = survey(crawl.aside).fingerprint == fingerprint
        except ChangedError:
            unchanged = False
        if not unchanged:
            put_back(crawl)
            raise ChangedError("it changed before it was deleted, so it was not")
        crawl.aside.rename(crawl.hidden)
        step("hide")
        if log and log_identity:
            delete_log(log, log_identity)
            step("delete_log")
        finish(crawl)
        step("delete_data")
    except OSError as e:
        raise KingfisherError(
            f"{crawl.directory} cannot be deleted: {e.strerror} ({show(str(e.filename))}): let this user delete it, "
            "and rerun"
        ) from e


def put_back(crawl: Crawl) -> None:
    """
    Give a directory its name again that was not found to be what was archived.

    :raises KingfisherError: if there is another of that name by now
    """
    if os.path.lexists(crawl.directory):
        raise KingfisherError(
            f"{crawl.aside} was to be called {crawl.name} again, which exists: move one of the two away"
        )
    crawl.aside.rename(crawl.directory)


def finish(crawl: Crawl) -> None:
    """Delete what is left of a crawl whose deletion has begun."""
    shutil.rmtree(crawl.hidden)


def finish_interrupted(crawl: Crawl, log: Path | None, stored: Stored | None, recorded: Recorded | None) -> None:
    """
    Delete what is left of a crawl, and its log if that is the one that was archived or decided upon.

    :param stored: what its archive says of the log
    :param recorded: the decision that was recorded last
    :raises OSError: if it cannot be deleted
    """
    if log and (found := _is_known(log, stored, recorded)):
        delete_log(log, found)
    finish(crawl)


def _is_known(log: Path, stored: Stored | None, recorded: Recorded | None) -> tuple[int, ...] | None:
    if recorded and (recorded.log, recorded.log_fingerprint) == (show(log.name), log_fingerprint(log)):
        return identity(log.lstat())
    return is_same(log, stored) if stored else None


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
