"""
Find the log of a crawl among the logs that Scrapyd keeps: ``LOGS/SOURCE/JOB.log``.

Nothing outside the logs directory is opened, whatever a crawl directory or a symlink says, and nothing but regular
files.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from bisect import bisect_left, bisect_right
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .scrapy_log import read_begin

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A crawl directory is named after a time that is less than this after the time in its log: ``MAXIMUM_TIMEDELTA`` of
#: scrapy-log-analyzer.
MAXIMUM_DELAY = timedelta(seconds=3)

#: Kingfisher Collect's ``FilesStore`` writes the job's ID, without a newline, to ``scrapyd-job.txt``. The Data Support
#: runbook reads it from ``scrapyd-log.txt``, which was written by hand or by older versions: there, a file name or a
#: path, of which the last component counts, will do as well.
JOB_FILE = "scrapyd-job.txt"
LOG_FILE = "scrapyd-log.txt"

# A longer file holds no job ID: a path can't be longer either.
_JOB_FILE_LIMIT = 4096
_NAME_LIMIT = 255
_COMPONENT = re.compile(r"[^/\x00-\x1f\x7f]+")


class Unreadable(NamedTuple):
    """A log, or a directory of logs, that was passed over."""

    path: Path
    reason: str


class LogIndex:
    """
    The logs of a logs directory, each of which is read at most once, when it's first needed.

    An index is of one moment: it doesn't notice logs that are written later.
    """

    def __init__(self, logs_directory: str | os.PathLike[str]) -> None:
        self.logs_directory = Path(logs_directory)
        #: What was passed over so far, and why.
        self.unreadable: list[Unreadable] = []
        self._begins: dict[str, list[tuple[datetime, str]]] = {}

    def find(self, source_id: str, crawl_directory: Path, data_version: datetime) -> Path | None:
        """
        Return the path of a crawl's log, or None.

        It is the log of the job that the crawl directory names. If that names none, or there is no such log, it is the
        log that began 0 to 3 seconds before (not including 3): the nearest, and of those, the first by name.

        :param source_id: the spider's name
        :param crawl_directory: the crawl's directory, which need not exist
        :param data_version: the time that the crawl directory is named after, naive
        """
        if not _is_component(source_id):
            return None
        for job in _jobs(crawl_directory):
            path = self.logs_directory / source_id / f"{job}.log"
            if is_crawl_log(path.name) and self._is_log(path):
                return path
        begins = self._read_begins(source_id)
        end = bisect_right(begins, data_version, key=_time)
        if end == 0 or data_version - begins[end - 1][0] >= MAXIMUM_DELAY:
            return None
        nearest = bisect_left(begins, begins[end - 1][0], key=_time)
        return self.logs_directory / source_id / begins[nearest][1]

    def _read_begins(self, source_id: str) -> list[tuple[datetime, str]]:
        """Return when each log of a source began, and its name, in this order."""
        if source_id not in self._begins:
            self._begins[source_id] = sorted(self._iter_begins(source_id))
        return self._begins[source_id]

    def _iter_begins(self, source_id: str) -> Iterator[tuple[datetime, str]]:
        directory = self.logs_directory / source_id
        try:
            self._resolve(directory)
            names = [path.name for path in directory.iterdir()]
        except FileNotFoundError:
            return
        except OSError as e:
            self._pass_over(directory, e)
            return
        for name in sorted(filter(is_crawl_log, names)):
            path = directory / name
            try:
                self._resolve(path)
                begin = read_begin(path)
            except OSError as e:
                self._pass_over(path, e)
                continue
            if begin:
                yield begin, name
            else:
                self.unreadable.append(Unreadable(path, "No time in it"))

    def _is_log(self, path: Path) -> bool:
        try:
            return Path(self._resolve(path)).is_file()
        except OSError:
            return False

    def _resolve(self, path: Path) -> str:
        """
        Return the path without symlinks.

        :raises OSError: if there is no such file, or it isn't in the logs directory
        """
        root = os.path.realpath(self.logs_directory)
        real = os.path.realpath(path, strict=True)
        if os.path.commonpath((root, real)) != root:
            raise OSError(errno.EXDEV, "A symlink leads out of the logs directory", str(path))
        return real

    def _pass_over(self, path: Path, error: OSError) -> None:
        self.unreadable.append(Unreadable(path, error.strerror or str(error)))


def is_crawl_log(name: str) -> bool:
    """Return whether a file name is that of a crawl's log, rather than of one of its :func:`companions`."""
    return name.endswith(".log") and not name.endswith("_report.log")


def companions(log_path: Path) -> list[Path]:
    """
    Return the files that were made from a log, where they exist: ``X.log.stats``, ``X_report.log``.

    They are what OCP's hourly statistics, and ``scrape-report`` of older versions of Kingfisher Collect, write.
    """
    paths = (Path(f"{log_path}.stats"), log_path.with_name(f"{log_path.name.removesuffix('.log')}_report.log"))
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def _jobs(crawl_directory: Path) -> Iterator[str]:
    """Yield the IDs of the jobs that a crawl directory names, if they are fit to be file names."""
    for name in (JOB_FILE, LOG_FILE):
        try:
            text = _read_small_file(crawl_directory / name).decode().strip()
        except (OSError, ValueError):
            continue
        if name == LOG_FILE:
            text = text.rpartition("/")[2].removesuffix(".log")
        if text not in {"", "."} and ".." not in text and _is_component(f"{text}.log"):
            yield text


def _read_small_file(path: Path) -> bytes:
    """
    Return the content of a small file.

    :raises OSError: if it can't be read, is a symlink, isn't a regular file (a FIFO doesn't block) or isn't small
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            content = os.read(fd, _JOB_FILE_LIMIT + 1)
            if len(content) <= _JOB_FILE_LIMIT:
                return content
    finally:
        os.close(fd)
    raise OSError(errno.EINVAL, "Not a small regular file", str(path))


def _is_component(name: str) -> bool:
    """Return whether a name is one component of a path, and no special one."""
    try:
        length = len(os.fsencode(name))
    except UnicodeEncodeError:
        return False
    return length <= _NAME_LIMIT and name not in {".", ".."} and _COMPONENT.fullmatch(name) is not None


def _time(pair: tuple[datetime, str]) -> datetime:
    return pair[0]
