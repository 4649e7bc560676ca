"""
``JOB_report.log`` beside each finished ``JOB.log``: the end of the log, from the statistics on.

Before each crawl, Scrapyd deletes the files in the directory of the spider's logs but for the ``jobs_to_keep`` that
were changed last, whatever they are. So reports that are as young as their logs would halve the logs that are kept.
Ours are said to be forty years older than their logs: then Scrapyd deletes all reports before it deletes any log, and
the next call writes those again whose logs are left. The time also tells whether a report is up to date, unread.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..crawl_logs import is_crawl_log
from ..errors import KingfisherError
from .logs import WINDOWS, read_part, report

#: How much older a report is said to be than its log, in nanoseconds.
AGE = 40 * 365 * 24 * 3600 * 10**9
_SUFFIX = "_report.log"
#: Reports are made beside the directories in which Scrapyd counts files.
_TEMPORARY = ".report-"


def write_reports(logs_directory: Path, project: str | None, *, dry_run: bool = False) -> dict[str, Any]:
    """
    Write the reports that are missing or outdated, and delete those of ours whose logs are gone.

    :returns: ``written`` and ``deleted``, paths; ``unchanged``, a number; ``failed``, by path
    :raises KingfisherError: if the logs directory cannot be read
    """
    result: dict[str, Any] = {"written": [], "deleted": [], "unchanged": 0, "failed": {}}
    for directory in _projects(logs_directory, project):
        if not dry_run:
            for left in directory.glob(f"{_TEMPORARY}*"):  # by a call that was killed
                left.unlink(missing_ok=True)
        for spider in _directories(directory):
            try:
                _write_for(spider, result, dry_run=dry_run)
            except OSError as e:
                result["failed"][str(spider)] = f"{e.filename or spider}: {e.strerror}: let this user write there"
    return result


def _write_for(spider: Path, result: dict[str, Any], *, dry_run: bool) -> None:
    # Held open, so that nobody can put a symlink in its place meanwhile.
    directory = os.open(spider, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        names = set(os.listdir(directory))  # noqa: PTH208 - of what is held open
        for name in sorted(names):
            if name.endswith(_SUFFIX):
                if f"{name.removesuffix(_SUFFIX)}.log" not in names and _is_ours(name, directory):
                    result["deleted"].append(str(spider / name))
                    if not dry_run:
                        os.unlink(name, dir_fd=directory)
            elif is_crawl_log(name):
                with suppress(FileNotFoundError):  # Scrapyd deletes logs at any time
                    _write_one(spider, name, directory, result, dry_run=dry_run)
    finally:
        os.close(directory)


def _write_one(spider: Path, name: str, directory: int, result: dict[str, Any], *, dry_run: bool) -> None:
    log = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISREG(log.st_mode):
        return
    target = f"{name.removesuffix('.log')}{_SUFFIX}"
    wanted = log.st_mtime_ns - AGE
    with suppress(FileNotFoundError):
        # A file system may keep times in coarser units.
        if abs(os.stat(target, dir_fd=directory, follow_symlinks=False).st_mtime_ns - wanted) < 2 * 10**9:
            result["unchanged"] += 1
            return
    text = next((t for w in WINDOWS if (t := report(read_part(spider / name, -w, w)))), None)
    if text is None:
        return
    result["written"].append(str(spider / target))
    if dry_run:
        return
    descriptor, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=spider.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            os.fchmod(descriptor, stat.S_IMODE(log.st_mode) & 0o666)
            if os.geteuid() == 0:
                os.fchown(descriptor, log.st_uid, log.st_gid)
            file.flush()
            os.utime(descriptor, ns=(log.st_atime_ns, wanted))
        os.replace(temporary, target, dst_dir_fd=directory)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _is_ours(name: str, directory: int) -> bool:
    """Return whether a report has the age of ours: others are left alone."""
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return stat.S_ISREG(status.st_mode) and status.st_ctime_ns - status.st_mtime_ns > AGE // 2


def _projects(logs_directory: Path, project: str | None) -> list[Path]:
    try:
        found = list(_directories(logs_directory))
    except OSError as e:
        raise KingfisherError(
            f"scrapyd:logs_directory: {logs_directory} cannot be read: {e.strerror}: correct it"
        ) from e
    if project is not None and project not in (path.name for path in found):
        raise KingfisherError(f"argument project: {logs_directory} has no directory {project}")
    return [path for path in found if project in (None, path.name)]


def _directories(directory: Path) -> Iterator[Path]:
    with os.scandir(directory) as entries:
        found = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith("."))
    yield from (directory / name for name in found)
