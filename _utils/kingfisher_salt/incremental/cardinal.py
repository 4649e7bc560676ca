"""
Cardinal, which calculates red flags: from a crawl's table, through two programs, to two tables.

What the tables hold, and that flags stay once they were raised, is as the Open Contracting Partnership's reports
expect it: https://cardinal.readthedocs.io and json-to-csv in its manage.py.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from psycopg2 import sql

from ..errors import KingfisherError
from .config import Crawl
from .flags import COLUMNS, write_flags

#: Characters that JSON never has, so that a line is a value, whatever it holds.
_AS_LINES = "CSV QUOTE e'\\x01' DELIMITER e'\\x02'"


def check(settings: Mapping[str, Any], spider: str) -> tuple[Path, Path]:
    """
    Return the program, and the spider's settings for it.

    :raises KingfisherError: if one of them is missing
    """
    binary = Path(settings["binary"])
    if not os.access(binary, os.X_OK) or binary.is_dir():
        raise KingfisherError(
            f"Cardinal's program {binary} is missing: install it, or correct "
            "python_apps:kingfisher_collect:cardinal:binary"
        )
    directory = settings["settings_directory"]
    if directory is None:
        raise KingfisherError(
            "Cardinal has no settings: name the directory of SPIDER.ini files in "
            "python_apps:kingfisher_collect:cardinal:settings_directory"
        )
    path = Path(directory) / f"{spider}.ini"
    if not os.access(path, os.R_OK):
        raise KingfisherError(f"Cardinal's settings {path} are missing: ocdscardinal init {path} writes an example")
    return binary, path


def run(
    settings: Mapping[str, Any],
    crawl: Crawl,
    connection: Any,
    scratch: Path,
    call: Callable[[list[str], Path], tuple[int, str]],
    phase: Callable[[str], None],
) -> int:
    """
    Return how many flags are new, once ``TABLE_clean`` and ``TABLE_result`` have them, in one transaction.

    :param scratch: a directory to work in. It is left behind if something fails, to see what.
    :raises KingfisherError: if a program fails, or finds something wrong with the data
    """
    binary, ini = check(settings, crawl.spider)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    data, prepared, wrong, found, flags = (
        scratch / name for name in ("data.jsonl", "prepared.jsonl", "errors.csv", "indicators.json", "flags.tsv")
    )
    phase("cardinal: reading the table")
    with data.open("wb") as file, connection.cursor() as cursor:
        query = sql.SQL("COPY (SELECT data FROM {} WHERE data IS NOT NULL) TO STDOUT " + _AS_LINES)
        cursor.copy_expert(query.format(sql.Identifier(crawl.table)), file)
    phase("cardinal: prepare")
    options = ["-s", str(ini)]
    prepare = [str(binary), "prepare", *options, "-o", str(prepared), "-e", str(wrong), str(data)]
    _succeed(call(prepare, scratch / "prepare.txt"), "prepare")
    if wrong.exists() and wrong.stat().st_size:
        raise KingfisherError(f"ocdscardinal prepare found errors in the data: add them to {ini}: they are in {wrong}")
    phase("cardinal: indicators")
    _succeed(call([str(binary), "indicators", *options, "--map", str(prepared)], found), "indicators")
    phase("cardinal: writing the tables")
    write_flags(found, flags)
    added = _store(connection, crawl.table, prepared, flags)
    shutil.rmtree(scratch)
    return added


def _succeed(ended: tuple[int, str], command: str) -> None:
    code, said = ended
    if code:
        raise KingfisherError(f"ocdscardinal {command} failed, with exit code {code}: {said}")


def _store(connection: Any, table: str, prepared: Path, flags: Path) -> int:
    """Write both tables, and return how many flags are new."""
    names = {
        "clean": sql.Identifier(f"{table}_clean"),
        "index": sql.Identifier(f"idx_{table}_clean"),
        "result": sql.Identifier(f"{table}_result"),
        "columns": sql.SQL(", ").join(map(sql.Identifier, COLUMNS)),
    }
    # Organizations are compared as text: with IS NOT DISTINCT FROM, each flag would be compared with all.
    same = " AND ".join(
        f"coalesce(old.{name}, '') = coalesce(new.{name}, '')"
        for name in ("ocid", "code", "buyer_id", "procuring_entity_id", "tenderer_id")
    )
    connection.autocommit = False
    try:
        with connection, connection.cursor() as cursor:

            def execute(statement: str) -> None:
                cursor.execute(sql.SQL(statement).format(**names))

            execute("DROP TABLE IF EXISTS {clean}")
            execute("CREATE TABLE {clean} (data jsonb)")
            with prepared.open("rb") as file:
                cursor.copy_expert(sql.SQL("COPY {clean} (data) FROM STDIN " + _AS_LINES).format(**names), file)
            execute("CREATE INDEX {index} ON {clean} (cast(data->>'date' AS text))")
            execute(
                "CREATE TABLE IF NOT EXISTS {result} (id serial PRIMARY KEY, ocid text, subject text, code text, "
                "result numeric, buyer_id text, procuring_entity_id text, tenderer_id text, created_at timestamp)"
            )
            execute("CREATE TEMPORARY TABLE new ON COMMIT DROP AS SELECT {columns} FROM {result} WITH NO DATA")
            with flags.open("rb") as file:
                cursor.copy_expert(sql.SQL("COPY new ({columns}) FROM STDIN").format(**names), file)
            execute(
                "INSERT INTO {result} ({columns}, created_at) SELECT {columns}, now() AT TIME ZONE 'UTC' FROM new "
                f"WHERE NOT EXISTS (SELECT FROM {{result}} old WHERE {same})"
            )
            return int(cursor.rowcount)
    finally:
        connection.autocommit = True
