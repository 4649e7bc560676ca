"""One run of a crawl at a time."""

from __future__ import annotations

import fcntl
import json
import os
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..errors import LockedError

#: For how long a run tries, since :func:`holder` takes the lock for an instant to look. In seconds.
PATIENCE = 1.0


def take(path: Path, identifier: str) -> int:
    """
    Return the descriptor of a lock that is held until it, and all copies that children inherited, are closed.

    So it stays locked while a crawl goes on, though the run that started it was killed.

    :raises LockedError: if another run holds it
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    until = time.monotonic() + PATIENCE
    while not _locked(descriptor, fcntl.LOCK_EX):
        if time.monotonic() > until:
            who = _said(descriptor)
            os.close(descriptor)
            raise LockedError(
                f"{identifier} is still running{_since(who)}, so this run was left out: "
                f"salt 'ID' kingfisher.incremental_status identifier={identifier} says how far it is"
            )
        time.sleep(PATIENCE / 10)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    _say(descriptor, {"pid": os.getpid(), "since": now})
    return descriptor


def passed_on(descriptor: int, pid: int) -> None:
    """Note the process that has a copy of a lock, and holds it on if this one is killed."""
    _say(descriptor, {**_read(descriptor), "child": pid})


def holder(path: Path) -> dict[str, Any] | None:
    """Return the pid of whoever holds a lock, and since when. None if nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        return None if _locked(descriptor, fcntl.LOCK_SH) else _said(descriptor)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _said(descriptor: int) -> dict[str, Any]:
    who = _read(descriptor)
    child = who.pop("child", None)
    return {**who, "pid": child} if child and not Path(f"/proc/{who.get('pid')}").exists() else who


def _say(descriptor: int, who: dict[str, Any]) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(who).encode(), 0)


def _read(descriptor: int) -> dict[str, Any]:
    try:
        return dict(json.loads(os.pread(descriptor, 1000, 0)))
    except (ValueError, TypeError):
        return {}


def _since(who: dict[str, Any]) -> str:
    if "since" not in who:
        return ""
    hours = (datetime.now(timezone.utc) - datetime.fromisoformat(who["since"])).total_seconds() / 3600
    return f", as process {who.get('pid')}, for {hours:.0f} hours" if hours >= 1 else f", as process {who.get('pid')}"
