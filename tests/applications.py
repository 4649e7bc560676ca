"""Stand-ins for Pelican backend and Kingfisher Process: their commands and tables, with a real database."""

from __future__ import annotations

import os
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.services.postgresql import PostgreSQL

TESTS = Path(__file__).parent


def environment() -> dict[str, str]:
    """Return what is in the file .env of the working directory, or what Docker gives to a container."""
    if not Path(".env").exists():
        return dict(os.environ)
    return dict(line.split("=", 1) for line in Path(".env").read_text().splitlines())


def misbehave(settings: dict[str, str]) -> None:
    """Do what a broken application would do, if that is set."""
    fault = settings.get("FAULT")
    if fault == "hanging":
        time.sleep(600)
    elif fault == "failing":
        sys.exit("connection to postgresql://app:hunter2@db/app failed")
    elif fault == "garbage":
        sys.stdout.buffer.write(b"\xff\x00<html>\n" * 1000)
        sys.exit(0)


class StandIn:
    """An application in a directory of its own, with a database of its own."""

    def __init__(self, directory: Path, postgresql: PostgreSQL, name: str):
        self.directory = directory / name
        self.directory.mkdir()
        self.postgresql = postgresql
        self.database = f"{name}_{uuid.uuid4().hex[:8]}"
        postgresql.execute(f"CREATE DATABASE {self.database}", dbname="postgres")
        self.execute((TESTS / name / "schema.sql").read_text())
        self.pillar: dict[str, Any] = {
            "database": {
                "host": postgresql.host,
                "port": postgresql.port,
                "name": self.database,
                "user": postgresql.user,
                "password": postgresql.password,
            },
            "manage": [sys.executable, str(TESTS / name / "manage.py")],
            "directory": str(self.directory),
            "timeout": 60,
        }
        self.break_(None)

    def break_(self, fault: str | None) -> None:
        """Have the application's commands misbehave from now on, or not any more."""
        address = f"{self.postgresql.user}:{self.postgresql.password}@{self.postgresql.host}:{self.postgresql.port}"
        lines = [f"DATABASE_URL=postgresql://{address}/{self.database}", *([f"FAULT={fault}"] if fault else [])]
        path = self.directory / ".env"
        path.touch(mode=0o600)
        path.write_text("\n".join(lines))

    def execute(self, sql: str, parameters: tuple[Any, ...] = ()) -> None:
        self.postgresql.execute(sql, parameters, dbname=self.database)

    def ask(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        connection = self.postgresql.connect(dbname=self.database)
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def contents(self) -> dict[str, Any]:
        """Return all rows of all tables, and where the sequences are: what a dry run must leave as it is."""
        names = (
            "SELECT relname, relkind FROM pg_class "
            "WHERE relkind IN ('r', 'S') AND relnamespace = 'public'::regnamespace"
        )
        return {
            name: self.ask(f"SELECT {'last_value, is_called' if kind == 'S' else '*'} FROM {name} ORDER BY 1")
            for name, kind in self.ask(names)
        }

    def drop(self) -> None:
        self.postgresql.execute(f"DROP DATABASE {self.database} WITH (FORCE)", dbname="postgres")


class PelicanApp(StandIn):
    """Pelican backend."""

    def __init__(self, directory: Path, postgresql: PostgreSQL):
        super().__init__(directory, postgresql, "pelican_app")

    def add_dataset(self, phase: str | None = "CHECKED", state: str = "OK", *, items: int = 2, **columns: Any) -> int:
        """Add a dataset with items, and a check and a state for each."""
        name = columns.get("name", "kyrgyzstan_2026-01-01")
        insert = "INSERT INTO dataset (name, meta) VALUES (%s, %s) RETURNING id"
        connection = self.postgresql.connect(dbname=self.database)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(insert, (name, '{"kingfisher_metadata": {"collection_id": 7}}'))
                number: int = cursor.fetchone()[0]
                if phase:
                    progress = (
                        "INSERT INTO progress_monitor_dataset (dataset_id, phase, state, size) VALUES (%s, %s, %s, %s)"
                    )
                    cursor.execute(progress, (number, phase, state, items))
                for _ in range(items):
                    cursor.execute(
                        "INSERT INTO data_item (data, dataset_id) VALUES ('{}', %s) RETURNING id", (number,)
                    )
                    item = cursor.fetchone()[0]
                    check = "INSERT INTO field_level_check (data_item_id, dataset_id, result) VALUES (%s, %s, '{}')"
                    cursor.execute(check, (item, number))
                    done = "INSERT INTO progress_monitor_item (dataset_id, item_id, state) VALUES (%s, %s, 'OK')"
                    cursor.execute(done, (number, item))
                if original := columns.get("filtered_from"):
                    made = "INSERT INTO dataset_filter VALUES (DEFAULT, %s, %s, '{}')"
                    cursor.execute(made, (original, number))
        finally:
            connection.close()
        return number

    def add_rates(self, first: str, days: int) -> None:
        self.execute(
            "INSERT INTO exchange_rates (valid_on, rates) SELECT day, jsonb_build_object('USD', 1.1, 'KGS', 97.25) "
            "FROM generate_series(%s::date, %s::date + %s, interval '1 day') AS day",
            (first, first, days - 1),
        )

    def rates(self) -> list[Any]:
        return self.ask("SELECT valid_on, rates, created, modified FROM exchange_rates ORDER BY valid_on")


class ProcessApp(StandIn):
    """Kingfisher Process."""

    def __init__(self, directory: Path, postgresql: PostgreSQL):
        super().__init__(directory, postgresql, "process_app")

    def add_collection(self, source: str = "kyrgyzstan", *, compiled: bool = True, **columns: Any) -> int:
        """Add a collection, which is complete unless ``columns`` say otherwise, and one compiled from it."""
        number = self._insert({"source_id": source, "steps": '{"compile": true}', **COMPLETE, **columns})
        if compiled:
            made = {"transform_from_collection_id": number, "transform_type": "compile-releases"}
            started = {"compilation_started": bool(columns.get("completed_at", "now"))}
            self._insert({"source_id": source, **COMPLETE, **columns, **made, **started})
        return number

    def add_file(self, collection: int, name: str, *, step: str | None = None) -> None:
        add = "INSERT INTO collection_file (collection_id, filename) VALUES (%s, %s)"
        self.execute(add, (collection, name))
        if step:
            self.execute("INSERT INTO processing_step (collection_id, name) VALUES (%s, %s)", (collection, step))

    def _insert(self, row: dict[str, Any]) -> int:
        connection = self.postgresql.connect(dbname=self.database)
        try:
            with connection, connection.cursor() as cursor:
                names, places = ", ".join(row), ", ".join(["%s"] * len(row))
                insert = f"INSERT INTO collection ({names}) VALUES ({places}) RETURNING id"
                cursor.execute(insert, tuple(row.values()))
                number: int = cursor.fetchone()[0]
        finally:
            connection.close()
        return number


COMPLETE = {"data_version": "2026-01-01 00:00:00+00", "store_end_at": "now", "completed_at": "now"}
