"""One run at a time: a file lock for the host, and an object for the bucket."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ..errors import KingfisherError, LockedError
from .bucket import Bucket, errors, is_absent, is_refused_condition, server_time

#: The key of the bucket's lock. It has no slash, so that it is no archive of any source.
LOCK_KEY = "kingfisher-archive.lock"
#: How often a run says that it is alive, and after how long a silence another host may take over, in seconds.
RENEW = 60
LEASE = 900
#: How often to try again when others release the lock just as it is read.
_TRIES = 10


def _holder(lock_file: Path) -> dict[str, Any]:
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except OSError:
        machine = ""
    return {
        "host": socket.gethostname(),
        "machine": machine,
        "lock_file": str(lock_file),
        "pid": os.getpid(),
        "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _who(holder: dict[str, Any]) -> str:
    if not holder:
        return "somebody who does not say who"
    return f"process {holder.get('pid')} on {holder.get('host')}, since {holder.get('since')}"


def _parse(content: bytes) -> dict[str, Any]:
    try:
        holder = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return holder if isinstance(holder, dict) else {}


@contextmanager
def host_lock(lock_file: Path) -> Iterator[None]:
    """
    Hold the host's lock. The system lets go of it when the process ends, however it ends.

    :raises LockedError: if another run holds it
    """
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as e:
        raise KingfisherError(
            f"the lock {lock_file} cannot be opened: {e.strerror}: correct kingfisher_archive:lock_file"
        ) from e
    with os.fdopen(fd, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(
                f"the archive is at work: {lock_file} is held by {_who(_parse(file.read(10_000)))}: wait for it, or "
                "follow it with salt-run kingfisher.follow"
            ) from None
        with suppress(OSError):  # the disk is full: the lock holds, and only does not say who holds it
            os.truncate(fd, 0)
            os.write(fd, json.dumps(_holder(lock_file)).encode())
        yield


class BucketLock:
    """
    Holds the bucket for one installation, as long as it says so every minute.

    Time is read off the store's clock alone. A lock left by a killed run of this same installation is taken over at
    once, since whoever holds the host's lock is the only one; one of another host's, after a long silence.
    """

    def __init__(self, bucket: Bucket, lock_file: Path) -> None:
        self._bucket = bucket
        self._me = {**_holder(lock_file), "token": uuid.uuid4().hex}
        self._etag = ""
        self._renewed = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="bucket-lock", daemon=True)
        self._lost: str | None = None
        #: Whose lock was taken over, if any.
        self.taken_over: str | None = None

    def __enter__(self) -> BucketLock:  # noqa: PYI034 - Self is not in Python 3.10
        """Acquire it, or raise LockedError if another installation holds it."""
        with errors(f"lock bucket {self._bucket.name}"):
            for _ in range(_TRIES):
                if self._acquire():
                    break
            else:
                raise LockedError(f"bucket {self._bucket.name}: others take and release its lock all the time: rerun")
        self._renewed = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._lost is None:
            with suppress(ClientError, BotoCoreError):  # the next run of this installation takes it over
                self._put(IfMatch=self._etag)  # which fails if another has it by now
                self._bucket.client.delete_object(Bucket=self._bucket.name, Key=LOCK_KEY)

    def check(self) -> None:
        """
        Call before anything in the bucket is replaced.

        :raises LockedError: if this run can no longer be sure that it is alone
        """
        if self._lost is None and time.monotonic() - self._renewed > LEASE / 2:
            self._lost = "it could not be renewed for too long"
        if self._lost is not None:
            raise LockedError(f"the lock of bucket {self._bucket.name} was lost: {self._lost}: run this again")

    def _put(self, **condition: str) -> None:
        answer = self._bucket.client.put_object(
            Bucket=self._bucket.name,
            Key=LOCK_KEY,
            Body=json.dumps(self._me).encode(),
            **condition,  # type: ignore[arg-type]
        )
        self._etag = answer["ETag"]

    def _acquire(self) -> bool:
        try:
            self._put(IfNoneMatch="*")
        except ClientError as e:
            if not is_refused_condition(e):
                raise
        else:
            return True
        try:
            answer = self._bucket.client.get_object(Bucket=self._bucket.name, Key=LOCK_KEY)
        except ClientError as e:
            if is_absent(e):
                return False
            raise
        holder = _parse(answer["Body"].read(10_000))
        silence = (server_time(dict(answer)) - answer["LastModified"]).total_seconds()
        ours = all(holder.get(key) == self._me[key] for key in ("host", "machine", "lock_file"))
        if not ours and silence < LEASE:
            raise LockedError(
                f"bucket {self._bucket.name} is held by {_who(holder)}, last heard of {silence:.0f} s ago: one bucket "
                f"takes one run at a time; a lock that is silent for {LEASE} s is taken over"
            )
        try:
            self._put(IfMatch=answer["ETag"])
        except ClientError as e:
            if is_refused_condition(e) or is_absent(e):
                return False
            raise
        self.taken_over = f"{_who(holder)}, silent for {silence:.0f} s"
        return True

    def _renew(self) -> None:
        while not self._stop.wait(RENEW):
            asked = time.monotonic()
            try:
                self._put(IfMatch=self._etag)
                self._renewed = asked
            except ClientError as e:
                if is_refused_condition(e) or is_absent(e):
                    self._lost = "another run took it over"
                    return
            except BotoCoreError:
                pass
