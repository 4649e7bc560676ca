"""Remember, in SQLite, what was found in crawls, logs and archives, so that it is not read again."""

from __future__ import annotations

import errno
import json
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import KingfisherError

_VERSION = 1
_SCHEMA = f"""
    CREATE TABLE IF NOT EXISTS crawl_facts (
        id TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, log TEXT NOT NULL, log_fingerprint TEXT NOT NULL,
        facts TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS crawl_decision (
        id TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, decision TEXT NOT NULL, reason TEXT NOT NULL,
        compared_with TEXT, log TEXT NOT NULL, log_fingerprint TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS archive_metadata (
        prefix TEXT PRIMARY KEY, etag TEXT NOT NULL, document TEXT NOT NULL
    ) WITHOUT ROWID;
    PRAGMA user_version = {_VERSION};
"""
#: Rows lost to a kill cost time alone, so they are not written to disk one by one.
_BATCH = 500


@dataclass(frozen=True)
class Recorded:
    """A decision as it was recorded, and of what."""

    decision: str
    reason: str
    compared_with: str | None
    fingerprint: str
    log: str
    log_fingerprint: str


class Cache:
    """
    What is remembered. Losing it loses nothing but time.

    A file that is missing is created, one that is no cache is put aside. On a full disk, it is in memory alone, since
    an archive run makes room. With ``read_only``, nothing is written, and what cannot be read is taken for empty.
    """

    def __init__(self, file: Path, *, read_only: bool = False) -> None:
        self._lock = threading.Lock()
        self._unwritten = 0
        self._read_only = read_only
        #: Why nothing will be remembered, if so.
        self.problem: str | None = None
        self._connection = self._open(file)

    def _open(self, file: Path) -> sqlite3.Connection | None:
        if self._read_only:
            try:
                connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, check_same_thread=False)
                connection.execute("SELECT count(*) FROM crawl_facts").fetchone()
            except sqlite3.Error:
                return None
            return connection
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                return self._create(file)
            except sqlite3.DatabaseError as e:
                if isinstance(e, sqlite3.OperationalError) or not file.is_file():
                    raise
                file.rename(file.with_name(f"{file.name}.unreadable"))
                return self._create(file)
        except (OSError, sqlite3.Error) as e:
            if getattr(e, "errno", None) == errno.ENOSPC or "full" in str(e):
                self.problem = f"nothing is remembered of this run, because the disk of the cache {file} is full"
                return self._connect(":memory:")
            raise KingfisherError(
                f"the cache {file} cannot be opened: {e}: correct kingfisher_archive:cache_file, or make room"
            ) from e

    def _create(self, file: Path) -> sqlite3.Connection:
        file.touch(0o600)
        file.chmod(0o600)
        return self._connect(file)

    @staticmethod
    def _connect(file: Path | str) -> sqlite3.Connection:
        connection = sqlite3.connect(file, check_same_thread=False)
        connection.executescript(_SCHEMA)
        return connection

    def close(self) -> None:
        if self._connection:
            with self._lock:
                if not self._read_only:
                    self._commit()
                self._connection.close()

    def facts(self, crawl_id: str, fingerprint: str, log: str, log_fingerprint: str) -> dict[str, Any] | None:
        """Return what was found in a crawl and its log, if both are unchanged since."""
        row = self._row(
            "SELECT facts FROM crawl_facts WHERE id = ? AND fingerprint = ? AND log = ? AND log_fingerprint = ?",
            (crawl_id, fingerprint, log, log_fingerprint),
        )
        return _parse(row[0]) if row else None

    def remember_facts(
        self, crawl_id: str, fingerprint: str, log: str, log_fingerprint: str, facts: dict[str, Any]
    ) -> None:
        self._write(
            "REPLACE INTO crawl_facts VALUES (?, ?, ?, ?, ?)",
            (crawl_id, fingerprint, log, log_fingerprint, json.dumps(facts)),
        )

    def log_of(self, crawl_id: str, fingerprint: str) -> str | None:
        """Return the log that was found for a crawl that is unchanged since, or None."""
        row = self._row("SELECT log FROM crawl_facts WHERE id = ? AND fingerprint = ?", (crawl_id, fingerprint))
        return row[0] if row else None

    def decision(self, crawl_id: str) -> Recorded | None:
        """Return the decision that was recorded last for a crawl."""
        row = self._row(
            "SELECT decision, reason, compared_with, fingerprint, log, log_fingerprint "
            "FROM crawl_decision WHERE id = ?",
            (crawl_id,),
        )
        return Recorded(*row) if row else None

    def record_decision(self, crawl_id: str, recorded: Recorded) -> None:
        self._write(
            "REPLACE INTO crawl_decision (id, decision, reason, compared_with, fingerprint, log, log_fingerprint) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                crawl_id,
                recorded.decision,
                recorded.reason,
                recorded.compared_with,
                recorded.fingerprint,
                recorded.log,
                recorded.log_fingerprint,
            ),
        )

    def metadata(self, prefix: str, etag: str) -> dict[str, Any] | None:
        """Return the metadata.json that has this entity tag."""
        row = self._row("SELECT document FROM archive_metadata WHERE prefix = ? AND etag = ?", (prefix, etag))
        return _parse(row[0]) if row else None

    def remember_metadata(self, prefix: str, etag: str, document: dict[str, Any]) -> None:
        self._write("REPLACE INTO archive_metadata VALUES (?, ?, ?)", (prefix, etag, json.dumps(document)))

    def forget(self, crawl_id: str) -> None:
        """Forget a crawl that is no longer on disk."""
        self._write("DELETE FROM crawl_facts WHERE id = ?", (crawl_id,))
        self._write("DELETE FROM crawl_decision WHERE id = ?", (crawl_id,))

    def _row(self, query: str, values: tuple[Any, ...]) -> Any:
        if self._connection is None:
            return None
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchone()
            except sqlite3.Error:
                return None

    def _write(self, query: str, values: tuple[Any, ...]) -> None:
        if self._read_only or self._connection is None:
            return
        with self._lock:
            try:
                self._connection.execute(query, values)
            except sqlite3.Error:
                return  # a full disk must not stop what it only speeds up
            self._unwritten += 1
            if self._unwritten >= _BATCH:
                self._commit()

    def _commit(self) -> None:
        self._unwritten = 0
        try:
            if self._connection:
                self._connection.commit()
        except sqlite3.Error:
            pass


def _parse(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, TypeError):
        return None
    return value if isinstance(value, dict) else None
