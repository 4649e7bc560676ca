"""The logs of crawls: in Scrapyd's logs directory where it is on this host, else through Scrapyd."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from ..errors import KingfisherError
from ..reprs import NotClosedError, entries, evaluate
from .client import Client, RefusedError, log_path

#: Bytes that are read from the end: first the one, then the other.
WINDOWS = (1 << 16, 1 << 20)
#: The most bytes of a log that are read for its last lines.
MOST = 1 << 24
#: Bytes that are read for one line, at first.
_LINE = 400

_STATS = re.compile(rb"\[scrapy\.statscollectors\] INFO: Dumping Scrapy stats:\r?\n(?=\{)")
_RUN = re.compile(
    rb"\[scrapy\.core\.engine\] INFO: Spider (?:(?P<opened>opened)|closed \((?P<closed>[^\n]{1,500})\)(?=\s))"
    rb"|\] INFO: (?P<started>Scrapy [^\n]{1,50} started )"
    rb"|\] INFO: (?P<asked>Received SIG[A-Z]+, shutting down gracefully)"
)
_BEGINS = ("opened", "started")


@dataclass(frozen=True)
class LogStatus:
    """A log's size in bytes, and for how many seconds nothing was written to it."""

    size: int
    age: float


@dataclass(frozen=True)
class End:
    """What the end of a log says of the last run in it."""

    #: Whether it says anything of a run at all: with LOG_LEVEL above INFO, it does not.
    known: bool = False
    #: Whether the crawl was asked to stop.
    asked: bool = False
    #: Why the crawl ended, None if it has not, or was killed.
    reason: str | None = None

    @property
    def by_itself(self) -> bool:
        """Return whether the crawl came to its own end. ``shutdown`` is what Scrapy calls the end by a signal."""
        return self.reason is not None and self.reason != "shutdown"


class Logs:
    """Where logs are read."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._directory = client.config.logs_directory

    def status(self, project: str, spider: str, job: str) -> LogStatus | None:
        """Return a log's size and age, or None if there is no such log."""
        if self._directory:
            try:
                status = self._path(project, spider, job).stat()
            except FileNotFoundError:
                return None
            except OSError as e:
                raise _unreadable(e) from e
            return LogStatus(status.st_size, max(0.0, time.time() - status.st_mtime))
        with self._client.fetch("HEAD", log_path(project, spider, job), {"Accept-Encoding": "identity"}) as response:
            if response.status_code != 200:
                return None
            headers = response.headers
        try:
            written = parsedate_to_datetime(headers["last-modified"])
            age = (parsedate_to_datetime(headers["date"]) - written).total_seconds()
            return LogStatus(int(headers["content-length"]), max(0.0, age))
        except (KeyError, ValueError, TypeError):
            return None

    def tail(self, project: str, spider: str, job: str, length: int) -> bytes | None:
        """Return the last bytes of a log, or None if there is no such log."""
        return self._read(project, spider, job, -length, length)

    def head(self, project: str, spider: str, job: str, length: int) -> bytes | None:
        """Return the first bytes of a log, or None if there is no such log."""
        return self._read(project, spider, job, 0, length)

    def last_lines(self, project: str, spider: str, job: str, count: int) -> str | None:
        """
        Return the last lines of a log, each whole, or None if there is no such log.

        If they do not fit into MOST bytes, those that do are returned, after a line that says so.
        """
        window = min(max(count, 1) * _LINE, MOST)
        while (text := self.tail(project, spider, job, window)) is not None:
            cut = len(text) >= window
            lines = [line.decode(errors="replace") for line in text.splitlines()[1 if cut else 0 :]]
            if not cut or len(lines) >= count or window == MOST:
                return last(lines, count, within=window if cut else None)
            window = min(window * 4, MOST)
        return None

    def end(self, project: str, spider: str, job: str, *, since: int = 0) -> End:
        """
        Return what a log says of how its crawl ended.

        :param since: how many bytes of it to leave alone: what is before tells of another run
        """
        status = self.status(project, spider, job)
        new = status.size - since if status else 0
        for window in WINDOWS:
            found = read_end(self.tail(project, spider, job, min(window, new)) or b"" if new > 0 else b"")
            if found.known or window >= new:
                return found
        return End()

    def _read(self, project: str, spider: str, job: str, start: int, length: int) -> bytes | None:
        if self._directory:
            try:
                return read_part(self._path(project, spider, job), start, length)
            except FileNotFoundError:
                return None
            except OSError as e:
                raise _unreadable(e) from e
        if start < 0:
            # Twisted fails if it is asked for more than there is, from the end.
            found = self.status(project, spider, job)
            if not found or not found.size:
                return None if not found else b""
            start = max(0, found.size - length)
        wanted = f"bytes={start}-{start + length - 1}"
        headers = {"Range": wanted, "Accept-Encoding": "identity"}
        with self._client.fetch("GET", log_path(project, spider, job), headers) as response:
            if response.status_code == 206:
                return self._client.read(response, 0, length)
            if response.status_code == 200:  # a proxy that knows no ranges
                return self._client.read(response, start, length)
            if response.status_code == 416:
                return b""
            if response.status_code == 404:
                return None
            raise RefusedError(
                f"{self._client.config.place} answered HTTP {response.status_code} for a log: look at its own log",
                response.reason,
            )

    def _path(self, project: str, spider: str, job: str) -> Path:
        assert self._directory
        path = self._directory.joinpath(project, spider, f"{job}.log")
        root = os.path.realpath(self._directory)
        real = os.path.realpath(path)
        if os.path.commonpath((root, real)) != root:
            raise KingfisherError(f"{path} leads out of scrapyd:logs_directory: it is not read")
        return Path(real)


def read_part(path: Path, start: int, length: int) -> bytes:
    """
    Return a part of a regular file.

    :param start: where it begins; if negative, how far from the end
    :raises OSError: if it cannot be read, or is no regular file
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "it is no regular file", str(path))
        file.seek(max(0, status.st_size + start) if start < 0 else start)
        parts = []
        while length > 0 and (data := file.read(length)):
            parts.append(data)
            length -= len(data)
    return b"".join(parts)


def last(lines: list[str], count: int, *, within: int | None) -> str:
    """
    Return the last of these lines, after a line that says so if there are fewer than are wanted.

    :param within: bytes, if the lines are all that is in so many at the end; None if they are all that there is
    """
    if within and len(lines) < count:
        note = f"({len(lines)} lines in the last {within >> 20} MiB: what is before them is left out)"
        return "\n".join([note, *lines])
    return "\n".join(lines[-count:] if count else [])


def read_end(text: bytes) -> End:
    """Return what the last part of a log says of the last run that it tells of."""
    end = End()
    for match in _RUN.finditer(text):
        kind = match.lastgroup
        if kind in _BEGINS:
            end = End(known=True)
        elif kind == "asked":
            end = End(known=True, asked=True)
        else:
            end = End(True, end.asked, match["closed"].decode(errors="replace"))
    return end


def report(text: bytes) -> bytes | None:
    """
    Return the end of a log from the line above the statistics of its last run, or None if they are not (whole) in it.

    A crawl that goes on where it stopped writes to the log of the run before.
    """
    matches = list(_STATS.finditer(text))
    if not matches:
        return None
    last = matches[-1]
    if any(match.lastgroup in _BEGINS for match in _RUN.finditer(text, last.end())):
        return None
    try:
        for _ in entries(text[last.end() :]):
            pass
    except NotClosedError:
        return None
    return text[text.rfind(b"\n", 0, last.start()) + 1 :]


def stats(text: bytes) -> dict[str, Any] | None:
    """Return the statistics of the last run in the end of a log, as plain values, or None if they are not in it."""
    found = report(text)
    if found is None:
        return None
    begin = found.index(b"\n") + 1
    return {key.decode(errors="replace"): _plain(source) for key, source in entries(found[begin:])}


def _plain(source: bytes) -> Any:
    try:
        value = evaluate(source)
    except ValueError:
        return source[:1000].decode(errors="replace")
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (Mapping, list, tuple, set)):
        return source.decode(errors="replace")
    return value


def _unreadable(error: OSError) -> KingfisherError:
    return KingfisherError(f"{error.filename} cannot be read: {error.strerror}: let this user read it")
