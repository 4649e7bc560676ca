"""Pelican backend's datasets and exchange rates, with a real database and a stand-in for its commands."""

from __future__ import annotations

import hashlib
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kingfisher_salt.apps.application import ApplicationError
from kingfisher_salt.database import DatabaseError
from kingfisher_salt.errors import KingfisherError, SettingsError
from kingfisher_salt.pelican import config as configs
from kingfisher_salt.pelican.config import Config
from kingfisher_salt.pelican.datasets import TABLES, UnknownDatasetError, datasets, remove
from kingfisher_salt.pelican.exchange_rates import exchange_rates, export, import_

from tests.applications import PelicanApp
from tests.services.postgresql import PostgreSQL, programs


@pytest.fixture
def pelican(tmp_path: Path, postgresql: PostgreSQL) -> Iterator[PelicanApp]:
    app = PelicanApp(tmp_path, postgresql)
    yield app
    app.drop()


@pytest.fixture
def other(tmp_path: Path, postgresql: PostgreSQL) -> Iterator[PelicanApp]:
    """Return Pelican backend on the new server."""
    (tmp_path / "other").mkdir()
    app = PelicanApp(tmp_path / "other", postgresql)
    yield app
    app.drop()


def config(app: PelicanApp, **arguments: Any) -> Config:
    return configs.load(app.pillar, arguments)


def psql(app: PelicanApp, command: str) -> None:
    """Run what the runbook runs."""
    server = app.postgresql
    subprocess.run(
        [
            programs() / "psql",
            "-h",
            server.host,
            "-p",
            str(server.port),
            "-U",
            server.user,
            "-c",
            command,
            app.database,
        ],
        env={"PGPASSWORD": server.password},
        check=True,
        capture_output=True,
    )


# Datasets


def test_datasets_tell_phase_and_progress(pelican: PelicanApp) -> None:
    checked = pelican.add_dataset()
    running = pelican.add_dataset("CONTRACTING_PROCESS", "IN_PROGRESS", items=3, name="moldova_2026-01-01")
    filtered = pelican.add_dataset(filtered_from=checked)
    found = datasets(config(pelican))
    assert list(found) == [str(filtered), str(running), str(checked)]
    assert found[str(running)] == {
        "id": running,
        "name": "moldova_2026-01-01",
        "collection": "7",
        "phase": "CONTRACTING_PROCESS",
        "state": "IN_PROGRESS",
        "size": 3,
        "checked": 3,
        "age_hours": 0,
        "unchanged_hours": 0,
    }
    assert found[str(filtered)]["filtered_from"] == checked
    assert list(datasets(config(pelican), unfinished=True)) == [str(running)]
    assert list(datasets(config(pelican), name="moldova")) == [str(running)]
    assert list(datasets(config(pelican), limit=1)) == [str(filtered)]


@pytest.mark.parametrize("phase", ["CHECKED", "DELETED"])
def test_remove_removes_a_dataset_and_nothing_else(pelican: PelicanApp, phase: str) -> None:
    number, stays = pelican.add_dataset(phase), pelican.add_dataset()
    result = remove(config(pelican), number)
    assert result == {
        "dataset": number,
        "name": "kyrgyzstan_2026-01-01",
        "before": f"{phase} OK",
        "datasets": [number],
        "rows": {"data_item": 2, "field_level_check": 2, "progress_monitor_item": 2},
        "filtered_left": [],
        "removed": True,
        "comment": f"dataset {number} (kyrgyzstan_2026-01-01) has been removed",
    }
    assert list(datasets(config(pelican))) == [str(stays)]
    assert pelican.ask("SELECT count(*) FROM data_item WHERE dataset_id = %s", (stays,)) == [(2,)]
    with pytest.raises(UnknownDatasetError, match=f"there is no dataset {number} in Pelican, or not any more"):
        remove(config(pelican), number)


def test_remove_dry_run_changes_nothing(pelican: PelicanApp) -> None:
    number = pelican.add_dataset()
    before = pelican.contents()
    result = remove(config(pelican, timeout=0.001), number, dry_run=True)
    assert result["comment"] == f"dataset {number} (kyrgyzstan_2026-01-01) would have been removed"
    assert result["removed"] is False
    assert pelican.contents() == before


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("phase", "state"), [("CONTRACTING_PROCESS", "IN_PROGRESS"), ("DATASET", "OK"), ("CHECKED", "IN_PROGRESS")]
)
def test_what_pelican_refuses_is_told(pelican: PelicanApp, phase: str, state: str, dry_run: bool) -> None:
    number = pelican.add_dataset(phase, state)
    before = pelican.contents()
    with pytest.raises(KingfisherError, match=f"is in phase {phase}, state {state}, and Pelican removes only"):
        remove(config(pelican), number, dry_run=dry_run)
    assert pelican.contents() == before


def test_force_removes_what_is_not_checked(pelican: PelicanApp) -> None:
    number = pelican.add_dataset("DATASET", "IN_PROGRESS")
    assert remove(config(pelican), number, force=True)["removed"]


def test_a_dataset_without_progress_is_told(pelican: PelicanApp) -> None:
    number = pelican.add_dataset(None)
    with pytest.raises(KingfisherError, match="has no row in progress_monitor_dataset"):
        remove(config(pelican), number, force=True)


def test_a_row_stays_until_filtered_datasets_go(pelican: PelicanApp) -> None:
    number = pelican.add_dataset()
    filtered = pelican.add_dataset(filtered_from=number)
    result = remove(config(pelican), number)
    assert result["comment"].endswith(f"its row stays, without data, until dataset {filtered} is removed, too")
    assert datasets(config(pelican))[str(number)]["phase"] == "DELETED"
    again = remove(config(pelican), number)
    assert (again["removed"], again["comment"].partition(" was ")[2][:15]) == (False, "removed before:")
    assert remove(config(pelican), filtered)["removed"]
    assert datasets(config(pelican)) == {}


def test_filtered_datasets_are_removed_if_asked(pelican: PelicanApp) -> None:
    number = pelican.add_dataset()
    filtered = pelican.add_dataset(filtered_from=number)
    result = remove(config(pelican), number, include_filtered=True)
    assert (result["datasets"], result["filtered_left"]) == ([number, filtered], [])
    assert datasets(config(pelican)) == {}


def test_a_removal_that_was_killed_is_finished(pelican: PelicanApp) -> None:
    number = pelican.add_dataset()
    pelican.break_("killed half-way")
    with pytest.raises(ApplicationError, match="was ended by signal 9"):
        remove(config(pelican), number)
    pelican.break_(None)
    assert remove(config(pelican), number)["removed"]
    assert datasets(config(pelican)) == {}
    assert all(pelican.ask(f"SELECT count(*) FROM {table}") == [(0,)] for table in TABLES)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("hanging", r"remove \d+ did not end within 1 s"),
        ("failing", r"exit code 1: connection to postgresql://app:\*\*@db/app failed"),
        ("garbage", r"has not been removed, though Pelican backend's command has ended: .*<html>"),
    ],
)
def test_a_command_that_is_broken_removes_nothing(pelican: PelicanApp, fault: str, expected: str) -> None:
    number = pelican.add_dataset()
    before = pelican.contents()
    pelican.break_(fault)
    with pytest.raises(KingfisherError, match=expected):
        remove(config(pelican, timeout=1 if fault == "hanging" else 60), number)
    assert pelican.contents() == before


def test_a_database_that_is_down_is_told(pelican: PelicanApp) -> None:
    with pytest.raises(DatabaseError, match=r"/nowhere: .*: correct it, or pelican:database"):
        datasets(config(pelican, database={"name": "nowhere"}))
    with pytest.raises(DatabaseError, match="refused"):
        remove(config(pelican, database={"port": 1}), 1)


def test_a_wrong_password_is_not_told(pelican: PelicanApp) -> None:
    pelican.pillar["database"]["password"] = "hunter2"
    with pytest.raises(DatabaseError, match="password authentication failed") as error:
        exchange_rates(config(pelican))
    assert "hunter2" not in str(error.value)


def test_a_password_is_refused_as_an_argument(pelican: PelicanApp) -> None:
    with pytest.raises(SettingsError, match="is a secret, which an argument would show to everyone"):
        config(pelican, database={"password": "hunter2"})


# Exchange rates


def test_exchange_rates_are_summarized(pelican: PelicanApp) -> None:
    pelican.add_rates("2026-01-01", 3)
    pelican.add_rates("2026-01-06", 1)
    pelican.add_rates("2026-01-08", 1)
    result = exchange_rates(config(pelican))
    assert result.pop("behind_days") == pelican.ask("SELECT current_date - date '2026-01-08'")[0][0]
    assert result == {
        "count": 5,
        "first": "2026-01-01",
        "latest": "2026-01-08",
        "missing_days": 3,
        "missing": ["2026-01-04 to 2026-01-05", "2026-01-07"],
        "sequence": {"next": 6, "highest": 5, "correct": True},
    }


def test_a_table_without_rates_is_summarized(pelican: PelicanApp) -> None:
    result = exchange_rates(config(pelican))
    assert (result["count"], result["latest"], result["sequence"]["correct"]) == (0, None, True)


def test_a_sequence_that_is_behind_is_told(pelican: PelicanApp) -> None:
    pelican.add_rates("2026-01-01", 3)
    pelican.execute("SELECT setval('exchange_rates_id_seq', 2)")
    assert exchange_rates(config(pelican))["sequence"] == {"next": 3, "highest": 3, "correct": False}


def test_export_writes_what_psql_writes(pelican: PelicanApp, tmp_path: Path) -> None:
    pelican.add_rates("2026-01-01", 3)
    # Whatever the format has to escape.
    pelican.execute(
        "INSERT INTO exchange_rates (valid_on, rates, created, modified) VALUES "
        """('2026-01-04', '{"a\\\\b\\t\\"é": 12345678901234567890.0001}', NULL, '2026-01-04 01:02:03.000004')"""
    )
    result = export(config(pelican), tmp_path / "ours.csv")
    columns = "exchange_rates (valid_on, rates, created, modified)"
    psql(pelican, f"\\copy {columns} to '{tmp_path}/theirs.csv'")
    ours = (tmp_path / "ours.csv").read_bytes()
    assert ours == (tmp_path / "theirs.csv").read_bytes()
    assert b"\\N" in ours
    assert (result["count"], result["latest"], result["bytes"]) == (4, "2026-01-04", len(ours))
    assert result["sha256"] == hashlib.sha256(ours).hexdigest()
    assert stat.S_IMODE((tmp_path / "ours.csv").stat().st_mode) == 0o600


def test_psql_reads_what_export_writes(pelican: PelicanApp, other: PelicanApp, tmp_path: Path) -> None:
    pelican.add_rates("2026-01-01", 3)
    export(config(pelican), tmp_path / "rates.csv")
    psql(other, f"\\copy exchange_rates (valid_on, rates, created, modified) from '{tmp_path}/rates.csv'")
    assert other.rates() == pelican.rates()


def test_import_reads_what_psql_writes(pelican: PelicanApp, other: PelicanApp, tmp_path: Path) -> None:
    pelican.add_rates("2026-01-01", 3)
    psql(pelican, f"\\copy exchange_rates (valid_on, rates, created, modified) to '{tmp_path}/rates.csv'")
    assert import_(config(other), tmp_path / "rates.csv")["added"] == 3
    assert other.rates() == pelican.rates()


def test_an_import_adds_what_is_missing_once(pelican: PelicanApp, other: PelicanApp, tmp_path: Path) -> None:
    pelican.add_rates("2026-01-01", 5)
    other.add_rates("2026-01-02", 1)
    path = tmp_path / "rates.csv"
    digest = export(config(pelican), path)["sha256"]
    first = import_(config(other), path, sha256=digest)
    assert (first["count"], first["added"], first["unchanged"], first["replaced"]) == (5, 4, 1, 0)
    before = other.contents()
    second = import_(config(other), path)
    assert (second["added"], second["unchanged"]) == (0, 5)
    assert other.contents() == before


def test_an_import_sets_a_sequence_that_is_behind(pelican: PelicanApp, other: PelicanApp, tmp_path: Path) -> None:
    pelican.add_rates("2026-01-01", 3)
    other.add_rates("2026-02-01", 3)
    other.execute("SELECT setval('exchange_rates_id_seq', 1, false)")
    export(config(pelican), tmp_path / "rates.csv")
    result = import_(config(other), tmp_path / "rates.csv")
    assert result["sequence"] == {"next": 7, "highest": 6, "correct": True, "was_correct": False}
    other.add_rates("2026-03-01", 1)


def test_import_dry_run_changes_nothing(pelican: PelicanApp, other: PelicanApp, tmp_path: Path) -> None:
    pelican.add_rates("2026-01-01", 3)
    other.add_rates("2026-01-01", 1)
    export(config(pelican), tmp_path / "rates.csv")
    before = other.contents()
    result = import_(config(other), tmp_path / "rates.csv", dry_run=True)
    assert (result["added"], result["unchanged"]) == (2, 1)
    assert other.contents() == before


def test_other_rates_of_a_day_are_refused_unless_forced(
    pelican: PelicanApp, other: PelicanApp, tmp_path: Path
) -> None:
    pelican.add_rates("2026-01-01", 3)
    other.add_rates("2026-01-02", 1)
    other.execute("UPDATE exchange_rates SET rates = '{\"USD\": 2}'")
    export(config(pelican), tmp_path / "rates.csv")
    before = other.contents()
    for dry_run in (False, True):
        with pytest.raises(KingfisherError, match="other rates than the database for 2026-01-02:"):
            import_(config(other), tmp_path / "rates.csv", dry_run=dry_run)
    assert other.contents() == before
    assert import_(config(other), tmp_path / "rates.csv", force=True)["replaced"] == 1
    assert other.rates() == pelican.rates()


GOOD = '2026-01-01\t{"USD": 1.1}\t2026-01-01 00:00:00\t2026-01-01 00:00:00\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty"),
        (GOOD + GOOD[:40], "ends within a line, so it was cut off"),
        (GOOD + GOOD[:40] + "\n", "line 2: .*: nothing was imported"),
        ("valid_on\trates\tcreated\tmodified\n" + GOOD, 'line 1: invalid input syntax for type date: "valid_on"'),
        (GOOD.replace("\t", ","), "line 1: "),
        ("1\t" + GOOD, "line 1: "),
        (GOOD.replace("1.1}", "1.1"), "line 1: invalid input syntax for type json"),
        (GOOD.replace("2026-01-01\t", "2026-02-30\t"), "line 1: date/time field value out of range"),
        (GOOD.replace("USD", "\udcff"), "line 1: invalid byte sequence"),
        (GOOD + "\\.\n" + GOOD.replace("-01\t", "-02\t"), "has lines after its end mark in line 2"),
        (GOOD + GOOD, "has two lines for 2026-01-01"),
        (GOOD.replace("2026-01-01\t", "\\N\t"), "has no rates, or what are no rates, for no day"),
        (GOOD.replace('{"USD": 1.1}', "{}"), "has no rates, or what are no rates, for 2026-01-01"),
        (GOOD.replace("1.1", '"1.1"'), "has no rates, or what are no rates, for 2026-01-01"),
        (GOOD.replace('{"USD": 1.1}', "null"), "has no rates, or what are no rates, for 2026-01-01"),
    ],
)
def test_nothing_is_imported_of_a_file_that_is_not_whole(
    pelican: PelicanApp, tmp_path: Path, text: str, expected: str
) -> None:
    path = tmp_path / "rates.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    before = pelican.contents()
    with pytest.raises(KingfisherError, match=expected):
        import_(config(pelican), path)
    assert pelican.contents() == before


def test_a_file_that_lost_lines_is_refused_by_its_sum(pelican: PelicanApp, tmp_path: Path) -> None:
    pelican.add_rates("2026-01-01", 3)
    path = tmp_path / "rates.csv"
    digest = export(config(pelican), path)["sha256"]
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    with pytest.raises(KingfisherError, match="another SHA-256 than argument sha256"):
        import_(config(pelican), path, sha256=digest)


def test_a_file_may_end_by_the_end_mark(pelican: PelicanApp, tmp_path: Path) -> None:
    (tmp_path / "rates.csv").write_text(f"{GOOD}\\.\n")
    assert import_(config(pelican), tmp_path / "rates.csv")["added"] == 1


def test_an_import_waits_for_no_one_for_ever(
    pelican: PelicanApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kingfisher_salt.pelican.exchange_rates._LOCK_WAIT", 1)
    (tmp_path / "rates.csv").write_text(GOOD)
    connection = pelican.postgresql.connect(dbname=pelican.database)
    try:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO exchange_rates (valid_on, rates) VALUES ('2026-01-02', '{}')")
        with pytest.raises(DatabaseError, match="lock timeout"):
            import_(config(pelican), tmp_path / "rates.csv")
    finally:
        connection.close()


def test_an_export_replaces_a_file_in_one_step(pelican: PelicanApp, tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    path.write_text("old")
    with pytest.raises(KingfisherError, match="the table exchange_rates has no rows to export"):
        export(config(pelican), path)
    assert path.read_text() == "old"
    pelican.add_rates("2026-01-01", 3)
    export(config(pelican), path, dry_run=True)
    assert path.read_text() == "old"
    export(config(pelican), path)
    assert path.read_text().count("\n") == 3
    assert sorted(item.name for item in tmp_path.iterdir()) == ["pelican_app", "rates.csv"]


def test_an_export_that_breaks_off_leaves_no_file(
    pelican: PelicanApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pelican.add_rates("2026-01-01", 3)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        export(config(pelican), tmp_path / "rates.csv")
    assert [item.name for item in tmp_path.iterdir()] == ["pelican_app"]


def test_an_export_to_no_file_is_refused(pelican: PelicanApp, tmp_path: Path) -> None:
    pelican.add_rates("2026-01-01", 1)
    with pytest.raises(KingfisherError, match="is no directory: make it"):
        export(config(pelican), tmp_path / "missing/rates.csv")
    with pytest.raises(KingfisherError, match="is a directory: name a file in it"):
        export(config(pelican), tmp_path)
