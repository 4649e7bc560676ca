"""A small stand-in for Pelican backend's manage.py, which removes datasets in the same two transactions."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

import psycopg2

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.applications import environment, misbehave

CHILDREN = [
    "field_level_check",
    "field_level_check_examples",
    "resource_level_check",
    "resource_level_check_examples",
    "report",
    "dataset_level_check",
    "time_variance_level_check",
    "progress_monitor_item",
    "data_item",
]


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("remove")
    command.add_argument("dataset_id", type=int)
    command.add_argument("--include-filtered", action="store_true")
    command.add_argument("--force", action="store_true")
    given = parser.parse_args()
    settings = environment()
    misbehave(settings)
    connection = psycopg2.connect(settings["DATABASE_URL"])
    try:
        remove(connection, given, settings.get("FAULT"))
    finally:
        connection.close()


def remove(connection: Any, given: argparse.Namespace, fault: str | None) -> None:
    number = given.dataset_id
    cursor = connection.cursor()
    cursor.execute("SELECT 1 FROM dataset WHERE id = %s", [number])
    if not cursor.fetchone():
        return print(f"\x1b[31mno dataset {number}\x1b[0m", file=sys.stderr)
    cursor.execute("SELECT phase, state FROM progress_monitor_dataset WHERE dataset_id = %s", [number])
    row = cursor.fetchone()
    if not row or row[0] not in ("CHECKED", "DELETED") or row[1] != "OK":
        text = f"dataset {number} is {row[0]} {row[1]}"  # like the real one, raises TypeError if there is no row
        print(f"\x1b[31m{text}\x1b[0m", file=sys.stderr)
        if not given.force:
            return None
    going = [number]
    if given.include_filtered:
        cursor.execute(
            "SELECT dataset_id_filtered FROM dataset_filter JOIN progress_monitor_dataset p "
            "ON p.dataset_id = dataset_id_filtered WHERE dataset_id_original = %s "
            "AND phase IN ('CHECKED', 'DELETED') AND state = 'OK'",
            [number],
        )
        going += [row[0] for row in cursor.fetchall()]
    for table in CHILDREN:
        cursor.execute(f"DELETE FROM {table} WHERE dataset_id = ANY(%s)", [going])
    cursor.execute(
        "UPDATE progress_monitor_dataset SET phase = 'DELETED', state = 'OK', modified = now() "
        "WHERE dataset_id = ANY(%s)",
        [going],
    )
    connection.commit()
    if fault == "killed half-way":
        os.kill(os.getpid(), signal.SIGKILL)
    while True:
        # Those whose filtered datasets have all gone.
        cursor.execute(
            "SELECT dataset_id FROM progress_monitor_dataset p WHERE phase = 'DELETED' AND state = 'OK' "
            "AND NOT EXISTS (SELECT FROM dataset_filter WHERE dataset_id_original = p.dataset_id)"
        )
        purged = [row[0] for row in cursor.fetchall()]
        if not purged:
            break
        cursor.execute("DELETE FROM progress_monitor_dataset WHERE dataset_id = ANY(%s)", [purged])
        cursor.execute("DELETE FROM dataset_filter WHERE dataset_id_filtered = ANY(%s)", [purged])
        cursor.execute("DELETE FROM dataset WHERE id = ANY(%s)", [purged])
    connection.commit()
    return print("done")


if __name__ == "__main__":
    main()
