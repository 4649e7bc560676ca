"""A small stand-in for Kingfisher Process' manage.py. Nobody works off what it loads, unless a test does."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psycopg2

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.applications import environment, misbehave

COMPILED = "compile-releases"
TABLES = ["record", "release", "compiled_release", "processing_step", "collection_file", "collection_note"]


class Command:
    """The commands, by their names."""

    def __init__(self, connection: Any, fault: str | None):
        self.connection = connection
        self.cursor = connection.cursor()
        self.fault = fault

    def ask(self, query: str, *parameters: object) -> list:
        self.cursor.execute(query, parameters)
        return self.cursor.fetchall()

    def collection(self, given: argparse.Namespace) -> int:
        if not self.ask("SELECT id FROM collection WHERE id = %s", given.collection_id):
            sys.exit(f"CommandError: no collection {given.collection_id}")
        return given.collection_id

    def compiled(self, number: int) -> list[int]:
        query = "SELECT id FROM collection WHERE transform_from_collection_id = %s"
        return [row[0] for row in self.ask(query, number)]

    def load(self, given: argparse.Namespace) -> None:
        print("The source cannot be validated, since Scrapyd is not configured.", file=sys.stderr)
        if given.source == "nonexistent" and not given.force:
            sys.exit(
                "CommandError: source_id: 'nonexistent' is not a spider in the project of Scrapyd (can be forced)"
            )
        paths = [
            Path(root, name) for root, _, names in os.walk(given.PATH[0]) for name in names if not name.startswith(".")
        ]
        if not paths:
            sys.exit("CommandError: No files found")
        version = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(min(path.stat().st_mtime for path in paths)))
        insert = (
            "INSERT INTO collection (source_id, data_version, steps, transform_from_collection_id, transform_type) "
            "VALUES (%s, %s, %s, %s, %s) RETURNING id"
        )
        steps = '{"compile": true}' if given.compile else "{}"
        try:
            root = self.ask(insert, given.source, version, steps, None, "")[0][0]
        except psycopg2.IntegrityError:
            sys.exit("CommandError: there is such a collection")
        numbers = [root]
        if given.compile:
            numbers.append(self.ask(insert, given.source, version, "{}", root, COMPILED)[0][0])
        self.cursor.execute("INSERT INTO collection_note (collection_id, note) VALUES (%s, %s)", (root, given.note))
        self.connection.commit()
        for path in paths:
            add = "INSERT INTO collection_file (collection_id, filename) VALUES (%s, %s) RETURNING id"
            file = self.ask(add, root, str(path))[0][0]
            step = "INSERT INTO processing_step (collection_id, collection_file_id, name) VALUES (%s, %s, 'LOAD')"
            self.cursor.execute(step, (root, file))
            self.connection.commit()
            if self.fault == "killed half-way":
                os.kill(os.getpid(), signal.SIGKILL)
        self.cursor.execute("UPDATE collection SET store_end_at = now() WHERE id = %s", (root,))
        self.connection.commit()

    def cancelcollection(self, given: argparse.Namespace) -> None:
        number = self.collection(given)
        numbers = [number, *self.compiled(number)]
        if self.fault != "older version":
            self.cursor.execute("UPDATE collection SET deleted_at = now() WHERE id = ANY(%s)", (numbers,))
        self.connection.commit()
        print("Working... done", file=sys.stderr)

    def deletecollection(self, given: argparse.Namespace) -> None:
        number = self.collection(given)
        if input(f"Collection {number} goes. Continue? [y/N] ") != "y":
            return
        numbers = [number, *self.compiled(number)]
        for table in TABLES:
            self.cursor.execute(f"DELETE FROM {table} WHERE collection_id = ANY(%s)", (numbers,))
        if self.fault == "killed half-way":
            self.connection.commit()
            os.kill(os.getpid(), signal.SIGKILL)
        self.cursor.execute("DELETE FROM collection WHERE id = ANY(%s)", (numbers,))
        self.connection.commit()
        print("done")

    def collectionstatus(self, given: argparse.Namespace) -> None:
        number = self.collection(given)
        query = "SELECT steps, store_end_at, completed_at, compilation_started FROM collection WHERE id = %s"
        steps, closed, completed, _ = self.ask(query, number)[0]
        print(f"steps: {', '.join(steps)}")
        print(f"store_end_at: \x1b[33m{closed}\x1b[0m")
        print(f"completed_at: {completed}")
        print("compilable: no (or not yet)")
        for child in self.compiled(number):
            print("\nCompiled collection")
            print(f"compilation_started: {self.ask(query, child)[0][3]}")


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("cancelcollection", "deletecollection", "collectionstatus"):
        commands.add_parser(name).add_argument("collection_id", type=int)
    command = commands.add_parser("load")
    command.add_argument("PATH", nargs="+")
    for short, name in (("-s", "--source"), ("-n", "--note")):
        command.add_argument(short, name, required=True)
    for short, name in (("-f", "--force"), ("-c", "--compile")):
        command.add_argument(short, name, action="store_true")
    given = parser.parse_args()
    settings = environment()
    misbehave(settings)
    connection = psycopg2.connect(settings["DATABASE_URL"])
    try:
        getattr(Command(connection, settings.get("FAULT")), given.command)(given)
    finally:
        connection.close()


if __name__ == "__main__":
    main()
