"""The execution functions of Kingfisher Process, with a real database and a stand-in for its commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.applications import ProcessApp
from tests.functional.conftest import Minion
from tests.services.postgresql import PostgreSQL


@pytest.fixture
def process(tmp_path: Path, minion: Minion, postgresql: PostgreSQL) -> Iterator[ProcessApp]:
    app = ProcessApp(tmp_path, postgresql)
    minion.set_pillar({"kingfisher_process": app.pillar})
    yield app
    app.drop()


def call(minion: Minion, function: str, *args: Any, **kwargs: Any) -> Any:
    result = minion.call(f"kingfisher_process.{function}", *args, **kwargs)
    assert json.loads(json.dumps(result)) == result
    return result


def test_a_collection_is_loaded_cancelled_and_deleted(minion: Minion, process: ProcessApp, tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "1.json").write_text("{}")
    given = {"source": "kyrgyzstan", "note": "By me."}
    before = process.contents()
    assert call(minion, "load", str(directory), **given, dry_run=True)["loaded"] is False
    assert process.contents() == before
    number = call(minion, "load", str(directory), **given)["collection"]
    assert list(call(minion, "collections", source="kyrgyzstan", unfinished=True)) == [str(number)]
    assert call(minion, "status", number)["steps_left"] == {"LOAD": 1}
    assert call(minion, "cancel", number)["cancelled"] is True
    assert call(minion, "delete", number, dry_run=True)["deleted"] is False
    assert call(minion, "delete", str(number))["deleted"] is True
    assert call(minion, "collections") == {}


def test_a_list_that_is_too_large_names_its_argument(minion: Minion, process: ProcessApp) -> None:
    process.execute(
        "INSERT INTO collection (source_id, data_version, completed_at) "
        "SELECT repeat('x', 200) || number, now(), now() FROM generate_series(1, 5000) AS number"
    )
    with pytest.raises(CommandExecutionError, match=r"^5000 entries are more than a master passes on: use a smaller"):
        call(minion, "collections", limit=5000)


def test_stuck_sets_the_return_code(minion: Minion, process: ProcessApp) -> None:
    assert call(minion, "stuck")["stuck"] == []
    assert minion.retcode == 0
    process.add_collection(completed_at=None, store_end_at="2026-01-01 00:00:00+00")
    assert len(call(minion, "stuck", stuck_hours=1)["stuck"]) == 1
    assert minion.retcode == 1


@pytest.mark.usefixtures("process")
@pytest.mark.parametrize("function", ["status", "cancel", "delete"])
def test_what_is_no_number_is_refused(minion: Minion, function: str) -> None:
    for number in ("12\n13", "-1", 1.5, True, None, 0, 1 << 40):
        with pytest.raises(SaltInvocationError, match="argument collection must be the number of a collection"):
            call(minion, function, number)


@pytest.mark.usefixtures("process")
@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"source": "a\nb"}, "argument source must be one line of text"),
        ({"note": " "}, "argument note must be one line of text"),
        ({"note": "a\x1b[31m"}, "argument note must be one line of text"),
        ({"directory": "data"}, "argument directory must be an absolute path"),
    ],
)
def test_arguments_are_checked(minion: Minion, changed: dict[str, str], expected: str) -> None:
    with pytest.raises(SaltInvocationError, match=expected):
        call(minion, "load", **{"directory": "/data", "source": "kyrgyzstan", "note": "By me.", **changed})


def test_a_command_that_fails_is_one_sentence(minion: Minion, process: ProcessApp) -> None:
    number = process.add_collection()
    process.break_("failing")
    with pytest.raises(
        CommandExecutionError, match=rf"Kingfisher Process: deletecollection {number} was ended"
    ) as error:
        call(minion, "delete", number)
    assert "hunter2" not in str(error.value)
