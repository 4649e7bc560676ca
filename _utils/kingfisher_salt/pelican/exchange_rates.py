"""The exchange rates of Pelican backend: what there is, and a copy of it, in the format of psql's copy command."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg2

from ..database import DatabaseError, ask
from ..errors import KingfisherError
from .config import ROOT, Config

#: Bytes of a file. Thirty years of rates take about 30 MB.
LIMIT = 500_000_000
#: A line that ends what PostgreSQL reads.
_END = b"\\."
#: How many days are told by name.
_DAYS = 20
#: For how long to wait for others who write to the table, in seconds.
_LOCK_WAIT = 60

_SUMMARY = (
    "SELECT count(*) AS count, min(valid_on) AS first, max(valid_on) AS latest, max(id) AS id FROM exchange_rates"
)
_GAPS = """
    SELECT valid_on + 1 AS first, next - 1 AS last FROM (
        SELECT valid_on, lead(valid_on) OVER (ORDER BY valid_on) AS next FROM exchange_rates
    ) AS days WHERE next > valid_on + 1 ORDER BY 1
"""
_COPY_OUT = """
    COPY (SELECT valid_on, rates, created, modified FROM exchange_rates ORDER BY valid_on) TO STDOUT
"""
_INCOMING = """
    CREATE TEMPORARY TABLE incoming (
        valid_on date, rates jsonb, created timestamp without time zone, modified timestamp without time zone
    ) ON COMMIT DROP
"""
_DAYS_TWICE = "SELECT valid_on AS day FROM incoming GROUP BY valid_on HAVING count(*) > 1 ORDER BY 1"
_NO_RATES = """
    SELECT valid_on AS day FROM incoming WHERE valid_on IS NULL OR rates IS NULL OR jsonb_typeof(rates) <> 'object'
    OR rates = '{}' OR jsonb_path_exists(rates, '$.* ? (@.type() != "number")') ORDER BY 1 NULLS FIRST
"""
_OTHER = """
    SELECT i.valid_on AS day FROM incoming i JOIN exchange_rates e USING (valid_on) WHERE i.rates <> e.rates ORDER BY 1
"""
_NEW = """
    SELECT count(*) AS count FROM incoming WHERE valid_on NOT IN (SELECT valid_on FROM exchange_rates)
"""
_INSERT = """
    INSERT INTO exchange_rates (valid_on, rates, created, modified)
    SELECT valid_on, rates, created, modified FROM incoming
    WHERE valid_on NOT IN (SELECT valid_on FROM exchange_rates) ORDER BY valid_on
"""
_REPLACE = """
    UPDATE exchange_rates e SET rates = i.rates, created = i.created, modified = i.modified
    FROM incoming i WHERE e.valid_on = i.valid_on AND e.rates <> i.rates
"""
_ABSENT = """
    SELECT valid_on AS day FROM incoming i
    WHERE NOT EXISTS (SELECT FROM exchange_rates e WHERE e.valid_on = i.valid_on AND e.rates = i.rates)
"""


def exchange_rates(config: Config) -> dict[str, Any]:
    """
    Return how many days there are, the latest, the days missing between, and whether the ID sequence is correct.

    :raises DatabaseError: if the database does not answer
    """
    with config.connect() as connection:
        summary = ask(connection, _SUMMARY)[0]
        gaps = ask(connection, _GAPS)
        behind = ask(connection, "SELECT current_date - max(valid_on) AS days FROM exchange_rates")[0]["days"]
        sequence = _sequence(connection, summary["id"])
    return {
        "count": summary["count"],
        "first": _day(summary["first"]),
        "latest": _day(summary["latest"]),
        "behind_days": behind,
        "missing_days": sum((gap["last"] - gap["first"]).days + 1 for gap in gaps),
        "missing": [_span(gap) for gap in gaps[:_DAYS]],
        "sequence": sequence,
    }


def export(config: Config, path: Path, *, dry_run: bool = False) -> dict[str, Any]:
    """
    Write the rates to a file, which psql can copy from, in one step, for its owner's eyes alone.

    :returns: file, count, latest, and, if it was written, bytes and sha256
    :raises KingfisherError: if there are none, or if the file does not have a line for each
    :raises OSError: if it cannot be written
    """
    with config.connect() as connection:
        connection.set_session(isolation_level="REPEATABLE READ")
        _iso(connection)
        summary = ask(connection, _SUMMARY)[0]
        result = {"file": str(path), "count": summary["count"], "latest": _day(summary["latest"])}
        if not summary["count"]:
            raise KingfisherError(f"the table exchange_rates has no rows to export: correct {ROOT}:database")
        if not path.parent.is_dir():
            raise KingfisherError(f"{path.parent} is no directory: make it, or export to another file")
        if path.is_dir():
            raise KingfisherError(f"{path} is a directory: name a file in it")
        if dry_run:
            return result | {"comment": f"{summary['count']} days would have been exported to {path}"}
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w+b") as file:
                with connection.cursor() as cursor:
                    cursor.copy_expert(_COPY_OUT, file)
                size, lines, digest = _measure(file)
                _compare(path, lines, summary["count"])
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    comment = f"{summary['count']} days have been exported to {path}"
    return result | {"bytes": size, "sha256": digest, "comment": comment}


def import_(
    config: Config, path: Path, *, sha256: str | None = None, force: bool = False, dry_run: bool = False
) -> dict[str, Any]:
    """
    Add the days of a file that psql or :func:`export` wrote, in one transaction, all or none.

    A day that is there with the same rates stays as it is.

    :param sha256: the file's, which tells that it was cut off at the end of a line
    :param force: whether the rates of the file replace other ones of the same day
    :returns: file, count, added, replaced, unchanged, sequence and comment
    :raises KingfisherError: if the file is not whole, or has other rates for a day
    :raises OSError: if it cannot be read
    """
    text = _read(path, sha256)
    with config.connect(readonly=False) as connection:
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}s'")
            _iso(connection)
            if not dry_run:
                cursor.execute("LOCK TABLE exchange_rates IN SHARE ROW EXCLUSIVE MODE")
            count = _incoming(cursor, path, text)
            _check(connection, path)
            other = [row["day"] for row in ask(connection, _OTHER)]
            if other and not force:
                raise KingfisherError(
                    f"{path} has other rates than the database for {_days(other)}: nothing was imported: compare "
                    "them, and use force=True if the file is right"
                )
            added = ask(connection, _NEW)[0]["count"]
            result = {
                "file": str(path),
                "count": count,
                "added": added,
                "replaced": len(other),
                "unchanged": count - added - len(other),
            }
            before = _sequence(connection, ask(connection, _SUMMARY)[0]["id"])
            if dry_run:
                return result | {
                    "sequence": before,
                    "comment": f"{added} days of {count} in {path} would have been added",
                }
            # Before, since rows get their ids from it; and a number that was passed over does no harm.
            _set_sequence(cursor, before)
            cursor.execute(_REPLACE)
            cursor.execute(_INSERT)
            absent = [row["day"] for row in ask(connection, _ABSENT)]
            if cursor.rowcount != added or absent:
                raise KingfisherError(f"the database did not take all days of {path}: nothing was imported: try again")
            after = _sequence(connection, ask(connection, _SUMMARY)[0]["id"])
        connection.commit()
    return result | {
        "sequence": after | {"was_correct": before["correct"]},
        "comment": f"{added} days of {count} in {path} have been added",
    }


def _read(path: Path, sha256: str | None) -> bytes:
    """Return the contents of a file that can be whole."""
    with path.open("rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise KingfisherError(f"{path} is no file: name one that psql or pelican.export_exchange_rates wrote")
        if facts.st_size > LIMIT:
            raise KingfisherError(f"{path} is larger than {LIMIT} bytes, and so no exchange rates: name another file")
        text = file.read()
    if not text:
        raise KingfisherError(f"{path} is empty: nothing was imported: export it again")
    if not text.endswith(b"\n"):
        raise KingfisherError(f"{path} ends within a line, so it was cut off: nothing was imported: copy it again")
    if sha256 and hashlib.sha256(text).hexdigest() != sha256.strip().lower():
        raise KingfisherError(f"{path} has another SHA-256 than argument sha256: nothing was imported: copy it again")
    lines = text.splitlines()
    # Whatever follows this mark, PostgreSQL would leave out without a word.
    if _END in lines[:-1]:
        raise KingfisherError(
            f"{path} has lines after its end mark in line {lines.index(_END) + 1}: nothing was imported: copy it again"
        )
    return text


def _incoming(cursor: Any, path: Path, text: bytes) -> int:
    """Let PostgreSQL read the file, into a table that goes with the transaction."""
    cursor.execute(_INCOMING)
    try:
        cursor.copy_expert("COPY incoming (valid_on, rates, created, modified) FROM STDIN", io.BytesIO(text))
    except psycopg2.DataError as e:
        where = [line for line in str(e).splitlines() if line.startswith("CONTEXT:")]
        line = where[0].partition("line ")[2].split(",")[0].split(":")[0] if where else "?"
        said = str(e).splitlines()[0][:200]
        raise KingfisherError(
            f"{path}, line {line}: {said}: nothing was imported: export it again, with the columns valid_on, rates, "
            "created, modified"
        ) from None
    count: int = cursor.rowcount
    if count != len(text.removesuffix(_END + b"\n").splitlines()):
        raise KingfisherError(f"{path} has other lines than days: nothing was imported: export it again")
    return count


def _check(connection: Any, path: Path) -> None:
    """Raise if the days of a file are not each there once, with rates."""
    for query, wrong in ((_DAYS_TWICE, "has two lines"), (_NO_RATES, "has no rates, or what are no rates,")):
        days = [row["day"] for row in ask(connection, query)]
        if days:
            raise KingfisherError(f"{path} {wrong} for {_days(days)}: nothing was imported: export it again")


def _sequence(connection: Any, highest: int | None) -> dict[str, Any]:
    """Return which id comes next, which is the highest, and whether that can be."""
    name = ask(connection, "SELECT pg_get_serial_sequence('exchange_rates', 'id') AS name")[0]["name"]
    if not name:
        raise DatabaseError("the column id of exchange_rates has no sequence: run Pelican backend's migrations")
    row = ask(connection, f"SELECT last_value, is_called FROM {name}")[0]
    following = row["last_value"] + bool(row["is_called"])
    return {"next": following, "highest": highest, "correct": following > (highest or 0)}


def _set_sequence(cursor: Any, sequence: dict[str, Any]) -> None:
    """Set the sequence to the highest id, if it is below."""
    if not sequence["correct"]:
        cursor.execute("SELECT setval(pg_get_serial_sequence('exchange_rates', 'id'), %s)", (sequence["highest"],))


def _iso(connection: Any) -> None:
    """Have dates written, and read, as every psql does unless it is told otherwise."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL datestyle = 'ISO, YMD'")


def _measure(file: Any) -> tuple[int, int, str]:
    """Return the bytes, the lines and the SHA-256 of a file."""
    file.flush()
    file.seek(0)
    size, lines, digest = 0, 0, hashlib.sha256()
    while block := file.read(1 << 20):
        size += len(block)
        lines += block.count(b"\n")
        digest.update(block)
    return size, lines, digest.hexdigest()


def _compare(path: Path, lines: int, days: int) -> None:
    """Raise if a file does not have a line for each day."""
    if lines != days:
        raise KingfisherError(f"{lines} lines were written for {days} days: run this again; {path} is as it was")


def _day(value: Any) -> str | None:
    return value.isoformat() if value else None


def _span(gap: dict[str, Any]) -> str:
    first, last = _day(gap["first"]), _day(gap["last"])
    return f"{first}" if first == last else f"{first} to {last}"


def _days(days: list[Any]) -> str:
    """Return days, for a sentence: the first ones, and how many more."""
    told = ", ".join(_day(day) or "no day" for day in days[:5])
    return told if len(days) <= 5 else f"{told} and {len(days) - 5} more days"
