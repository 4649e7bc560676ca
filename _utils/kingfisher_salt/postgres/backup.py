"""Dumps of databases to a bucket: streamed, verified, and deleted when they are old. What cron runs needs no Salt."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ..archive.bucket import Bucket, connect, errors
from ..archive.upload import Senders, Upload
from ..errors import KingfisherError, LockedError, StoreError
from .psql import reason

GLOBALS = "globals"
LOCK = Path("/run/lock/kingfisher-postgres-backup.lock")
_AS_POSTGRES = ("runuser", "-u", "postgres", "--")
_TIME = "%Y%m%dT%H%M%SZ"
#: DATABASE/TIME.dump below the prefix. Nothing else is ever deleted.
_NAME = re.compile(r"(?P<database>[^/]+)/(?P<time>\d{8}T\d{6}Z)\.(dump|sql)")
_CHUNK = 1 << 20
_S3 = {"profile": None, "credentials_file": None, "session_token": None, "connect_timeout": 10, "read_timeout": 60}


class BackupError(KingfisherError):
    """A backup cannot be made, read or deleted."""


class Backup:
    """The dumps of one server."""

    def __init__(
        self, settings: Mapping[str, Any], *, as_postgres: Sequence[str] = _AS_POSTGRES, lock: Path = LOCK
    ) -> None:
        """
        :param settings: ``location``, ``databases``, ``retention_days`` and ``s3`` of pillar ``postgres:backup``
        :param as_postgres: what begins a command that connects as PostgreSQL's superuser
        """
        name, _, prefix = settings["location"].partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        given = settings.get("s3") or {}
        s3 = {key: given.get(key) for key in ("endpoint_url", "region", "access_key_id", "secret_access_key")}
        with _errors():
            self._bucket = Bucket(connect({**_S3, "attempts": 5, **s3}), name, "STANDARD")
        self._databases = [*settings["databases"], GLOBALS]
        self._retention_days = settings.get("retention_days")
        self._as_postgres = tuple(as_postgres)
        self._lock = lock

    def run(self) -> list[str]:
        """
        Dump every database, and what is common to all, and delete what is old.

        :returns: the keys of the dumps
        :raises BackupError: with all that failed. The others are dumped nonetheless
        :raises LockedError: if another run is under way
        """
        keys, problems = [], []
        with self._lock.open("a+") as lock:
            _take(lock)
            now = datetime.now(timezone.utc)
            for database in self._databases:
                try:
                    keys.append(self._dump(database, now))
                    self._delete_old(database, now)
                except KingfisherError as e:
                    problems.append(f"{database}: {_ours(e)}")
        if problems:
            raise BackupError("\n".join(problems))
        return keys

    def keys(self) -> list[str]:
        """Return the keys of all dumps, without the prefix, the oldest of a database first."""
        with _errors(), errors(f"list {self._prefix}"):
            pages = self._bucket.client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket.name, Prefix=self._prefix
            )
            found = [entry["Key"].removeprefix(self._prefix) for page in pages for entry in page.get("Contents", [])]
        return sorted(key for key in found if _NAME.fullmatch(key))

    def fetch(self, key: str, write: Callable[[bytes], Any]) -> None:
        """Read a dump."""
        if not _NAME.fullmatch(key):
            raise BackupError(f"{key} is no dump: the list of keys tells which there are")
        with _errors():
            stream = self._bucket.open(self._prefix + key)
            while chunk := stream.read(_CHUNK):
                write(chunk)

    def verify(self, key: str) -> None:
        """Read a dump, and let pg_restore read it to its end, without a database."""
        argv = ["pg_restore", "--file=/dev/null"] if key.endswith(".dump") else ["cat"]
        with subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            assert process.stdin
            assert process.stderr
            try:
                self.fetch(key, process.stdin.write)
                process.stdin.close()
            except BrokenPipeError:
                pass
            said = process.stderr.read().decode(errors="replace")
        if process.returncode:
            raise BackupError(f"{key} cannot be restored: {reason(said)}")

    def _dump(self, database: str, now: datetime) -> str:
        if database == GLOBALS:
            argv, ending = ["pg_dumpall", "--globals-only"], "sql"
        else:
            argv, ending = ["pg_dump", "--format=custom", f"--dbname={database}"], "dump"
        key = f"{database}/{now.strftime(_TIME)}.{ending}"
        senders = Senders(2)
        upload = Upload(self._bucket, self._prefix + key, senders, self._size(database), {})
        try:
            self._send([*self._as_postgres, *argv], upload)
            stored = upload.finish()
            upload.commit()
        except BaseException:
            upload.abort()
            raise
        finally:
            senders.close()
        self._bucket.verify(self._prefix + key, stored)
        return key

    def _send(self, argv: list[str], upload: Upload) -> None:
        """Send what a command writes. Unless it ends well, nothing is to be seen in the bucket."""
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/") as process:
            assert process.stdout
            assert process.stderr
            while chunk := process.stdout.read(_CHUNK):
                upload.write(chunk)
            said = process.stderr.read().decode(errors="replace")
        if process.returncode:
            raise BackupError(f"{argv[len(self._as_postgres)]}: {reason(said)}")

    def _size(self, database: str) -> int:
        """Return about how large the dump can be, from which follows the size of its parts."""
        if database == GLOBALS:
            return 0
        query = "SELECT pg_database_size(current_database())"
        argv = [*self._as_postgres, "psql", "--no-psqlrc", "--no-align", "--tuples-only", f"--dbname={database}"]
        ended = subprocess.run(argv, input=query, capture_output=True, text=True, check=False, cwd="/")
        if ended.returncode:
            raise BackupError(reason(ended.stderr))
        return int(ended.stdout)

    def _delete_old(self, database: str, now: datetime) -> None:
        """Delete dumps that are older than the retention, but for the last."""
        if not self._retention_days:
            return
        oldest = (now - timedelta(days=self._retention_days)).strftime(_TIME)
        for key in [key for key in self.keys() if key.startswith(f"{database}/")][:-1]:
            match = _NAME.fullmatch(key)
            if match and match["time"] < oldest:
                self._bucket.delete(self._prefix + key)


def main(argv: Sequence[str] | None = None) -> int:
    """Run, list, fetch or verify. Nothing is printed by a run that does what it should."""
    parser = argparse.ArgumentParser(description="Dumps of PostgreSQL databases in a bucket.")
    parser.add_argument("--settings", type=Path, required=True)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="dump all databases")
    commands.add_parser("list", help="list the keys of dumps")
    for name, text in (("fetch", "write a dump to standard output"), ("verify", "read a dump to its end")):
        commands.add_parser(name, help=text).add_argument("key")
    given = parser.parse_args(argv)
    try:
        backup = Backup(json.loads(given.settings.read_text()))
        if given.command == "run":
            backup.run()
        elif given.command == "list":
            print("\n".join(backup.keys()))
        elif given.command == "fetch":
            # Closed here, a full disk is an error like others.
            with os.fdopen(sys.stdout.fileno(), "wb", closefd=False) as file:
                backup.fetch(given.key, file.write)
        else:
            backup.verify(given.key)
    except (KingfisherError, OSError) as e:
        what = "The backup of PostgreSQL" if given.command == "run" else f"backup {given.command}"
        print(f"{what} failed: {_ours(e)}", file=sys.stderr)
        return 1
    return 0


def _take(lock: Any) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        raise LockedError(f"another run holds the lock, {lock.read().strip()}: wait, or end it") from None
    lock.truncate(0)
    lock.write(f"process {os.getpid()}, since {datetime.now(timezone.utc).isoformat(timespec='seconds')}")
    lock.flush()


@contextmanager
def _errors() -> Iterator[None]:
    """Have errors of the bucket name the settings of a backup."""
    try:
        yield
    except StoreError as e:
        raise BackupError(_ours(e)) from e


def _ours(error: Exception) -> str:
    return str(error).replace("kingfisher_archive:", "postgres:backup:").replace("docs/archive.md", "docs/postgres.md")
