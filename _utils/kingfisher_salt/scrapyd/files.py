"""Small files that survive a kill at any moment, and locks that do not."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import KingfisherError, LockedError

_PAUSE = 0.1


def write_private(path: Path, value: Any) -> None:
    """
    Write a value as JSON, so that the file is at no moment half-written, and only its owner can read it.

    :raises KingfisherError: if it cannot be written
    """
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            json.dump(value, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        _sync(path.parent)
    except OSError as e:
        raise KingfisherError(f"{path} cannot be written: {e.strerror}: let this user write it, and rerun") from e


def read_json(path: Path) -> Any:
    """
    Return the value in a file, or None if there is no such file.

    :raises KingfisherError: if it cannot be read
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as e:
        raise KingfisherError(f"{path} cannot be read: {e.strerror}: let this user read it, and rerun") from e
    except ValueError as e:
        raise KingfisherError(f"{path} is damaged ({e}): correct it, or move it away, and rerun") from e


def remove(path: Path) -> None:
    """
    Remove a file, for good.

    :raises KingfisherError: if it cannot be removed
    """
    try:
        path.unlink(missing_ok=True)
        _sync(path.parent)
    except OSError as e:
        raise KingfisherError(f"{path} cannot be removed: {e.strerror}: let this user do so, and rerun") from e


@contextmanager
def locked(path: Path, what: str, *, wait: float = 0) -> Iterator[None]:
    """
    Hold a lock, which the system lets go of when the process ends, however it ends.

    :param what: what holding it means, like "a drain"
    :param wait: for how long to wait for it, in seconds
    :raises LockedError: if another process holds it
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as e:
        raise KingfisherError(f"the lock {path} cannot be opened: {e.strerror}: correct scrapyd:drain_file") from e
    deadline = time.monotonic() + wait
    with os.fdopen(descriptor, "r+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = file.read(1000).strip() or "another process"
                    raise LockedError(f"{what} is at work: {path} is held by {holder}: wait for it") from None
                time.sleep(_PAUSE)
        file.truncate(0)
        file.write(f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        yield


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
