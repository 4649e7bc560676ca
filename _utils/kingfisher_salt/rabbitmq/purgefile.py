"""
The file that a purge writes, one JSON value a line: what was purged, its messages, and how many were removed so far.

Messages after the last line with ``acknowledged`` were written, and may be in the queue still.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from ..errors import KingfisherError, LockedError

FORMAT = 1
#: Characters of a queue's name that are in the name of its files.
_NAME = 100


def path_for(directory: Path, queue: str) -> Path:
    """Return the path of a new file, whatever characters the queue's name has."""
    return directory / f"{quote(queue, safe='')[:_NAME]}-{time.strftime('%Y%m%d_%H%M%S')}-{os.getpid()}.jsonl"


class Writer:
    """A new file, that only its owner can read, and that is locked until it is closed."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.path = path
        #: How many messages were added, and how many of them are removed from the queue for certain.
        self.count = 0
        self.done = 0
        self._buffer = bytearray()
        #: Bytes of the file that stay, whatever happens.
        self._kept = 0
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._line({"format": FORMAT, **header})
            self.sync()
            _sync_directory(path.parent)
        except BaseException:
            self.close()
            raise

    def add(self, message: dict[str, Any]) -> None:
        """Take a message, which is not in the file until ``keep``."""
        self.count += 1
        self._line({"number": self.count, **message})

    def keep(self) -> None:
        """Return once all that was added is on disk. From then on, it stays in the file."""
        self._kept = self.sync()

    def removed(self) -> None:
        """Note that what is kept is not in the queue any more."""
        self.done = self.count
        self._line({"acknowledged": self.count})
        self._kept = self._write()

    def close(self) -> None:
        """Close the file, without what was not kept. If nothing was, there is no file."""
        if self._descriptor < 0:
            return
        if self._kept:
            os.ftruncate(self._descriptor, self._kept)  # which needs no room on the disk
            os.fsync(self._descriptor)
        else:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1

    def sync(self) -> int:
        size = self._write()
        os.fsync(self._descriptor)
        return size

    def _line(self, value: dict[str, Any]) -> None:
        self._buffer += json.dumps(value).encode() + b"\n"

    def _write(self) -> int:
        """Write what was added, and return the size of the file."""
        while self._buffer:
            del self._buffer[: os.write(self._descriptor, self._buffer)]
        return os.lseek(self._descriptor, 0, os.SEEK_CUR)


@dataclass
class Content:
    """What a file holds."""

    vhost: str
    queue: str
    #: How many messages there are, and how many of them were removed from the queue for certain.
    total: int
    acknowledged: int
    file: IO[bytes]

    def messages(self, start: int) -> Iterator[dict[str, Any]]:
        """Return the messages from a number on, one after another."""
        self.file.seek(0)
        for line in self.file:
            if not line.endswith(b"\n"):
                return
            value = json.loads(line)
            if value.get("number", 0) >= start:
                yield value


@contextmanager
def opened(path: Path) -> Iterator[Content]:
    """
    Open a file, and hold its lock.

    :raises LockedError: if a purge or another restore uses it
    :raises KingfisherError: if it cannot be used
    """
    try:
        file = path.open("rb")
    except OSError as e:
        raise KingfisherError(f"argument file: {path} cannot be read: {e.strerror}: correct it") from e
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(f"{path} is in use by a purge or another restore: wait for its end") from None
        yield _read(path, file)


def _read(path: Path, file: IO[bytes]) -> Content:
    content: Content | None = None
    try:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break  # the purge was killed while it wrote this, so that it is in the queue still
            value = json.loads(line)
            if content is None:
                if value["format"] != FORMAT:
                    raise KingfisherError(f"{path} was written by another version of rabbitmq_queue.purge: use that")
                content = Content(value["vhost"], value["queue"], 0, 0, file)
            elif "acknowledged" in value:
                content.acknowledged = value["acknowledged"]
            elif value["number"] != content.total + 1:
                raise KingfisherError(f"line {number} of {path} is out of order: take the file as purge wrote it")
            else:
                content.total += 1
    except (ValueError, KeyError, TypeError) as e:
        raise KingfisherError(f"line {number} of {path} is none of a purge's: take the file as purge wrote it") from e
    if content is None:
        raise KingfisherError(f"{path} is empty: take the file as purge wrote it")
    return content


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
