"""The state kingfisher.archived, with test mode off and on."""

from __future__ import annotations

import pytest

from tests.functional.conftest import Archive

MAY, JUNE = "freedonia/20240501_040506", "freedonia/20240601_040506"


@pytest.mark.parametrize("test", [True, False])
def test_nothing_to_archive(archive: Archive, test: bool) -> None:
    archive.make("freedonia", "20240501_040506", finish_reason="shutdown")
    state = archive.minion.state("kingfisher.archived", name="everything", test=test)
    assert (state.result, state.changes, state.comment) == (True, {}, "There is nothing to archive.")


def test_test_mode_shows_the_plan_and_does_nothing(archive: Archive) -> None:
    archive.make("freedonia", "20240501_040506")
    archive.make("freedonia", "20240601_040506")
    archive.make("ruritania", "20240501_040506", age_days=1)
    before = archive.everything()
    state = archive.minion.state("kingfisher.archived", name="everything", test=True)
    assert archive.everything() == before
    assert state.result is None
    assert state.comment == "2 crawls would have been archived."
    assert state.changes == {
        MAY: {"old": "on disk", "new": f"s3://{archive.bucket}/freedonia/2024/05/"},
        JUNE: {"old": "on disk", "new": f"s3://{archive.bucket}/freedonia/2024/06/"},
    }


def test_what_test_mode_shows_is_done_and_then_nothing_is_left(archive: Archive) -> None:
    archive.make("freedonia", "20240501_040506")
    planned = archive.minion.state("kingfisher.archived", name="everything", test=True)
    done = archive.minion.state("kingfisher.archived", name="everything")
    assert done.result is True
    assert done.comment == "1 crawl has been archived."
    assert done.changes == planned.changes
    again = archive.minion.state("kingfisher.archived", name="everything")
    assert (again.result, again.changes, again.comment) == (True, {}, "There is nothing to archive.")


def test_arguments_are_those_of_the_function(archive: Archive) -> None:
    archive.make("freedonia", "20240501_040506")
    archive.make("ruritania", "20240501_040506")
    state = archive.minion.state("kingfisher.archived", name="one", source="ruritania", storage_class="STANDARD")
    assert list(state.changes) == ["ruritania/20240501_040506"]
    state = archive.minion.state("kingfisher.archived", name="none", limit=0)
    assert (state.result, state.changes) == (True, {})


@pytest.mark.parametrize("test", [True, False])
def test_wrong_settings_are_the_comment(archive: Archive, test: bool) -> None:
    state = archive.minion.state("kingfisher.archived", name="everything", buket="x", test=test)
    assert state.result is False
    assert state.changes == {}
    assert state.comment == "argument buket is not a setting: did you mean bucket?"


@pytest.mark.parametrize("test", [True, False])
def test_a_failure_fails_the_state_and_not_the_others(archive: Archive, test: bool) -> None:
    archive.make("freedonia", "20240501_040506")
    bad = archive.make("borduria", "20240501_040506")
    (bad.directory / "link").symlink_to("/etc/passwd")
    state = archive.minion.state("kingfisher.archived", name="everything", min_age_days=0, test=test)
    assert state.result is False
    assert state.comment.splitlines() == [
        "1 crawl would have been archived." if test else "1 crawl has been archived.",
        "borduria/20240501_040506: link is a symlink, and only files and directories can be archived: move it away",
    ]
    assert list(state.changes) == [MAY]


def test_a_store_that_is_down_fails_the_state(archive: Archive) -> None:
    archive.configure(s3={**archive.pillar["s3"], "endpoint_url": "http://127.0.0.1:1", "attempts": 1})
    state = archive.minion.state("kingfisher.archived", name="everything")
    assert state.result is False
    assert "check kingfisher_archive:s3:endpoint_url and the network" in state.comment
