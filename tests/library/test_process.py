"""Kingfisher Process' collections, with a real database and a stand-in for its commands."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kingfisher_salt.apps.application import ApplicationError
from kingfisher_salt.database import DatabaseError
from kingfisher_salt.errors import KingfisherError, SettingsError
from kingfisher_salt.kingfisher_process import config as configs
from kingfisher_salt.kingfisher_process.change import cancel, delete, load
from kingfisher_salt.kingfisher_process.collections import UnknownCollectionError, collections
from kingfisher_salt.kingfisher_process.config import Config
from kingfisher_salt.kingfisher_process.status import said, status, stuck

from tests.applications import ProcessApp
from tests.services.postgresql import PostgreSQL

UNFINISHED = {"store_end_at": None, "completed_at": None}
CLOSED = {"completed_at": None}


@pytest.fixture
def process(tmp_path: Path, postgresql: PostgreSQL) -> Iterator[ProcessApp]:
    app = ProcessApp(tmp_path, postgresql)
    yield app
    app.drop()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a directory to load, which has two files, and one that is not loaded."""
    path = tmp_path / "20260102_030405"
    for name in ("a/1.json", "2.json", ".hidden"):
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
        os.utime(file, (1767323045, 1767323045))  # 2026-01-02 03:04:05 UTC
    return path


def config(app: ProcessApp, **arguments: Any) -> Config:
    return configs.load(app.pillar, arguments)


# Lists


def test_collections_tell_what_there_is(process: ProcessApp) -> None:
    number = process.add_collection(expected_files_count=1)
    process.add_file(number, "1.json")
    process.add_collection("moldova")
    found = collections(config(process), source="kyrgyzstan")[str(number)]
    child = found["children"][0]
    assert (found["source"], found["data_version"], found["files"]) == ("kyrgyzstan", "2026-01-01 00:00:00", 1)
    assert (found["steps"], found["steps_left"], found["hours"]) == (["compile"], {}, 0)
    assert (child["transform"], child["parent"], child["compilation_started"]) == ("compile-releases", number, True)
    assert found["waits_for"] == []


def test_collections_may_be_the_unfinished_ones(process: ProcessApp) -> None:
    process.add_collection()
    loading = process.add_collection("moldova", **UNFINISHED)
    compiling = process.add_collection("nepal", **CLOSED)
    process.execute("UPDATE collection SET completed_at = now() WHERE id = %s", (compiling,))
    process.add_collection("peru", **UNFINISHED, deleted_at="now")
    assert list(collections(config(process), unfinished=True)) == [str(compiling), str(loading)]
    assert list(collections(config(process), unfinished=True, limit=1)) == [str(compiling)]


def test_all_that_was_made_from_a_collection_is_below_it(process: ProcessApp) -> None:
    number = process.add_collection(compiled=False)
    upgraded = process.add_collection(
        compiled=False, transform_from_collection_id=number, transform_type="upgrade-1-0-to-1-1"
    )
    compiled = process.add_collection(
        compiled=False, transform_from_collection_id=upgraded, transform_type="compile-releases"
    )
    found = collections(config(process))
    assert list(found) == [str(number)]
    assert [child["id"] for child in found[str(number)]["children"]] == [upgraded, compiled]


def waits(process: ProcessApp, number: int) -> list[str]:
    return status(config(process), number)["waits_for"]


def test_what_a_collection_waits_for_follows_its_life(process: ProcessApp) -> None:
    number = process.add_collection(expected_files_count=2, **UNFINISHED)
    child = number + 1
    process.add_file(number, "1.json", step="LOAD")
    assert waits(process, number) == [
        f"files and releases of collection {number}: 1 to be loaded",
        "the crawl or load to end, which closes it",
        "1 of 2 files to arrive",
        f"the compiler to begin collection {child}",
    ]
    process.add_file(number, "2.json")
    process.execute("DELETE FROM processing_step")
    process.execute("UPDATE collection SET store_end_at = now() WHERE id = %s", (number,))
    assert waits(process, number) == [f"the compiler to begin collection {child}"]
    process.execute("UPDATE collection SET compilation_started = true WHERE id = %s", (child,))
    process.execute("INSERT INTO processing_step (collection_id, name) VALUES (%s, 'COMPILE')", (child,))
    assert waits(process, number) == [f"files and releases of collection {child}: 1 to be compiled"]
    process.execute("DELETE FROM processing_step")
    process.execute("UPDATE collection SET completed_at = now() WHERE id = %s", (number,))
    assert waits(process, number) == [f"the finisher to complete collection {child}"]
    process.execute("UPDATE collection SET completed_at = now()")
    assert waits(process, number) == []
    process.execute("UPDATE collection SET deleted_at = now()")
    assert waits(process, number) == ["nothing: it was cancelled, or is being deleted"]


def test_status_has_the_words_of_the_application(process: ProcessApp) -> None:
    number = process.add_collection()
    process.execute(
        "INSERT INTO collection_note (collection_id, note, code) VALUES (%s, 'no', 'ERROR')", (number + 1,)
    )
    result = status(config(process), number)
    assert result["errors"] == ["no"]
    says = result["collectionstatus"]
    assert (says["steps"], says["compilable"]) == ("compile", "no (or not yet)")
    assert says["compiled"] == {"compilation_started": "True"}
    assert not says["store_end_at"].startswith("\x1b")
    assert "problem" not in result


@pytest.mark.parametrize(
    ("fault", "expected"),
    [("hanging", "did not end within 1 s"), ("failing", "exit code 1"), ("garbage", "said nothing of it")],
)
def test_status_needs_only_the_database(process: ProcessApp, fault: str, expected: str) -> None:
    number = process.add_collection()
    process.break_(fault)
    result = status(config(process, timeout=1 if fault == "hanging" else 60), number)
    assert expected in result["problem"]
    assert "hunter2" not in result["problem"]
    assert result["source"] == "kyrgyzstan"


def test_older_versions_say_less_around_it() -> None:
    text = "steps: {'compile': True}\nCannot read this line\n\ncompilation_started: True\n"
    assert said(text) == {"steps": "{'compile': True}", "compiled": {"compilation_started": "True"}}


def test_stuck_are_those_that_wait_for_long(process: ProcessApp) -> None:
    old = "2026-01-01 00:00:00+00"
    process.add_collection("complete", store_start_at=old)
    process.add_collection("young", **UNFINISHED)
    process.add_collection("cancelled", **UNFINISHED, store_start_at=old, deleted_at=old)
    closed = process.add_collection("closed", completed_at=None, store_start_at=old, store_end_at=old)
    open_ = process.add_collection("open", **UNFINISHED, store_start_at=old)
    found = stuck(config(process))["stuck"]
    assert [row["collection"] for row in found] == [closed, open_]
    assert f"kingfisher_process.delete {closed}" in found[0]["cure"]
    assert found[0]["waits_for"] == [f"the compiler to begin collection {closed + 1}"]
    assert found[1]["cure"].endswith(f"kingfisher_process.cancel {open_}")
    assert stuck(config(process, stuck_hours=10**7)) == {"stuck": [], "stuck_hours": 10**7, "notes": []}


def test_stuck_are_the_oldest_of_many_that_are_unfinished(process: ProcessApp) -> None:
    oldest = process.add_collection("open", **UNFINISHED, store_start_at="2026-01-01 00:00:00+00")
    process.execute(
        "INSERT INTO collection (source_id, data_version, steps) "
        "SELECT 'kyrgyzstan', now() + number * interval '1 s', '{}' FROM generate_series(1, 1000) AS number"
    )
    found = stuck(config(process))
    assert [row["collection"] for row in found["stuck"]] == [oldest]
    assert found["notes"] == [
        "only the 1000 oldest unfinished collections are looked at: run this again when these are gone"
    ]


# Cancel and delete


def test_cancel_cancels_a_collection_and_its_compiled_one(process: ProcessApp) -> None:
    number, other = process.add_collection(**UNFINISHED), process.add_collection("moldova", **UNFINISHED)
    result = cancel(config(process), number)
    assert result["cancelled"] is True
    assert process.ask("SELECT id FROM collection WHERE deleted_at IS NULL ORDER BY id") == [(other,), (other + 1,)]
    again = cancel(config(process), number)
    assert again["cancelled"] is False
    assert "was cancelled before" in again["comment"]


def test_cancel_leaves_a_completed_collection(process: ProcessApp) -> None:
    number = process.add_collection()
    before = process.contents()
    assert cancel(config(process), number)["comment"].endswith("is completed: there is nothing to cancel")
    assert process.contents() == before


def test_cancel_tells_that_an_older_version_does_not_note_it(process: ProcessApp) -> None:
    number = process.add_collection(**UNFINISHED)
    process.break_("older version")
    assert "has been told to stop" in cancel(config(process), number)["comment"]


def test_delete_deletes_a_collection_and_nothing_else(process: ProcessApp) -> None:
    number, other = process.add_collection(), process.add_collection("moldova")
    process.add_file(number, "1.json", step="LOAD")
    process.add_file(other, "1.json")
    result = delete(config(process), number)
    assert (result["deleted"], result["collections"]) == (True, [number, number + 1])
    assert result["rows"] == {"collection_file": 1, "processing_step": 1}
    assert process.ask("SELECT id FROM collection ORDER BY id") == [(other,), (other + 1,)]
    assert process.ask("SELECT collection_id FROM collection_file") == [(other,)]


def test_a_deletion_that_was_killed_is_finished(process: ProcessApp) -> None:
    number = process.add_collection()
    process.add_file(number, "1.json")
    process.break_("killed half-way")
    with pytest.raises(ApplicationError, match="was ended by signal 9"):
        delete(config(process), number)
    process.break_(None)
    assert delete(config(process), number)["deleted"]
    assert process.ask("SELECT count(*) FROM collection") == [(0,)]


@pytest.mark.parametrize("change", [cancel, delete])
def test_a_dry_run_changes_nothing(process: ProcessApp, change: Callable[..., dict[str, Any]]) -> None:
    number = process.add_collection(**UNFINISHED)
    before = process.contents()
    assert "would have been" in change(config(process, timeout=0.001), number, dry_run=True)["comment"]
    assert process.contents() == before


@pytest.mark.parametrize("change", [status, cancel, delete])
def test_a_collection_that_is_not_there_is_told(process: ProcessApp, change: Callable[..., dict[str, Any]]) -> None:
    number = process.add_collection()
    with pytest.raises(UnknownCollectionError, match="there is no collection 99 in Kingfisher Process"):
        change(config(process), 99)
    with pytest.raises(KingfisherError, match=rf"collection {number + 1} was made from {number} \(compile-releases\)"):
        change(config(process), number + 1)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("hanging", r"deletecollection \d+ did not end within 1 s"),
        ("failing", r"exit code 1: connection to postgresql://app:\*\*@db/app failed"),
        ("garbage", "has not been deleted, though deletecollection has ended: .*<html>"),
    ],
)
def test_a_command_that_is_broken_deletes_nothing(process: ProcessApp, fault: str, expected: str) -> None:
    number = process.add_collection()
    before = process.contents()
    process.break_(fault)
    with pytest.raises(KingfisherError, match=expected):
        delete(config(process, timeout=1 if fault == "hanging" else 60), number)
    assert process.contents() == before


def test_a_database_that_is_down_is_told(process: ProcessApp) -> None:
    for function in (collections, stuck):
        with pytest.raises(DatabaseError, match=r"refused.*: correct it, or kingfisher_process:database"):
            function(config(process, database={"port": 1}))


# Load


def test_load_makes_a_collection(process: ProcessApp, directory: Path) -> None:
    result = load(config(process), directory, "kyrgyzstan", "By me: -c --force; $(id)")
    number = result["collection"]
    assert result == {
        "directory": str(directory),
        "source": "kyrgyzstan",
        "data_version": "2026-01-02 03:04:05",
        "files": 2,
        "loaded": True,
        "collection": number,
        "compiled_collection": number + 1,
        "comment": f"2 files of {directory} have been loaded into collection {number}",
    }
    assert process.ask("SELECT note FROM collection_note") == [("By me: -c --force; $(id)",)]
    with pytest.raises(KingfisherError, match=rf"delete it with kingfisher_process\.delete {number} to load it again"):
        load(config(process), directory, "kyrgyzstan", "Again.")


def test_load_may_leave_out_compiling(process: ProcessApp, directory: Path) -> None:
    result = load(config(process), directory, "kyrgyzstan", "By me.", compile_=False)
    assert "compiled_collection" not in result
    assert process.ask("SELECT transform_type FROM collection") == [("",)]


def test_load_takes_a_source_that_is_no_spider_if_forced(process: ProcessApp, directory: Path) -> None:
    with pytest.raises(ApplicationError, match="'nonexistent' is not a spider"):
        load(config(process), directory, "nonexistent", "By me.")
    assert load(config(process), directory, "nonexistent", "By me.", force=True)["loaded"]


def test_load_dry_run_changes_nothing(process: ProcessApp, directory: Path) -> None:
    before = process.contents()
    result = load(config(process, timeout=0.001), directory, "kyrgyzstan", "By me.", dry_run=True)
    assert (result["loaded"], result["files"]) == (False, 2)
    assert process.contents() == before


def test_load_names_the_directory_as_the_application_sees_it(
    process: ProcessApp, directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "inside").symlink_to(tmp_path)
    process.pillar["paths"] = {str(tmp_path): str(tmp_path / "inside")}
    assert load(config(process), directory, "kyrgyzstan", "By me.")["loaded"]
    names = {name for (name,) in process.ask("SELECT filename FROM collection_file")}
    assert names == {f"{tmp_path}/inside/{directory.name}/{name}" for name in ("a/1.json", "2.json")}


def test_a_load_that_was_killed_is_replaced(process: ProcessApp, directory: Path) -> None:
    process.break_("killed half-way")
    with pytest.raises(ApplicationError, match="was ended by signal 9"):
        load(config(process), directory, "kyrgyzstan", "By me.")
    process.break_(None)
    with pytest.raises(KingfisherError, match=r"and open, with 1 files: .* use replace=True"):
        load(config(process), directory, "kyrgyzstan", "By me.")
    result = load(config(process), directory, "kyrgyzstan", "By me.", replace=True)
    assert (result["loaded"], result["files"]) == (True, 2)
    assert process.ask("SELECT count(*) FROM collection_file") == [(2,)]


def test_a_load_that_does_nothing_is_told(process: ProcessApp, directory: Path) -> None:
    process.break_("garbage")
    with pytest.raises(KingfisherError, match="and has no collection of kyrgyzstan at 2026-01-02 03:04:05"):
        load(config(process), directory, "kyrgyzstan", "By me.")


def test_a_directory_without_files_is_refused(process: ProcessApp, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(KingfisherError, match="has no files to load"):
        load(config(process), tmp_path / "empty", "kyrgyzstan", "By me.")
    with pytest.raises(KingfisherError, match="is no directory of this server"):
        load(config(process), tmp_path / "missing", "kyrgyzstan", "By me.")


@pytest.mark.parametrize("paths", [{"data": "/data"}, {"/data": 3}])
def test_paths_are_checked(paths: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="kingfisher_process:paths must map absolute paths"):
        configs.load({"paths": paths}, {})


def test_settings_have_the_defaults_of_the_runbook() -> None:
    found = configs.load({}, {})
    assert found.app.place == "docker compose in /data/deploy/kingfisher-process (kingfisher_process:directory)"
    assert found.as_seen(Path("/data/1")) == Path("/data/1")
