"""The rules for which crawl of a month is kept, case by case."""

from __future__ import annotations

from typing import Any

import pytest
from kingfisher_salt.archive.decision import ARCHIVE, KEEP, Decision, Facts, decide


def facts(version: str = "20240102_000000", **changes: Any) -> Facts:
    """Return a crawl of 100 bytes, 10 files and 2 errors, with the checksum "same"."""
    checksum = changes.pop("checksum", "same")
    given = {"bytes": 100, "files": 10, "errors": 2} | changes
    return Facts(
        id=f"a/{version}",
        period=(int(version[:4]), int(version[4:6])),
        data_bytes=changes.pop("data_bytes", given["bytes"]),
        data_checksum=checksum if callable(checksum) else lambda: checksum,
        **{key: given[key] for key in ("bytes", "files", "errors")},
    )


def never() -> str:
    raise AssertionError("the data was read, though the answer does not depend on it")


OLD = facts("20240101_000000", checksum=never)


def test_the_first_archive_is_a_new_period() -> None:
    assert decide(facts(checksum=never), None, None) == Decision(ARCHIVE, "new_period")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "same_period"),
        # More bytes are needed, whatever else is better.
        ({"bytes": 100, "files": 100, "errors": 0}, "same_period"),
        ({"bytes": 99, "files": 100, "errors": 0}, "same_period"),
        # At exactly 50% more.
        ({"bytes": 149}, "same_period"),
        ({"bytes": 150}, "same_period_more_bytes"),
        ({"bytes": 101, "files": 14}, "same_period"),
        ({"bytes": 101, "files": 15}, "same_period_more_files"),
        # Fewer errors, however few.
        ({"bytes": 101, "errors": 1}, "same_period_more_clean"),
        ({"bytes": 101, "errors": 2}, "same_period"),
        ({"bytes": 101, "errors": 3}, "same_period"),
        # The first of several reasons.
        ({"bytes": 150, "files": 15, "errors": 0}, "same_period_more_bytes"),
        ({"bytes": 101, "files": 15, "errors": 0}, "same_period_more_files"),
        # Errors do not count against more bytes.
        ({"bytes": 150, "errors": 100}, "same_period_more_bytes"),
    ],
)
def test_a_later_crawl_of_a_month_must_be_better(changes: dict[str, int], reason: str) -> None:
    found = decide(facts(**changes, checksum=never), OLD, None)
    assert found == Decision(KEEP if reason == "same_period" else ARCHIVE, reason, "a/20240101_000000")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ({"bytes": 0}, {"bytes": 0, "files": 100, "errors": 0}, "same_period"),
        ({"bytes": 0}, {"bytes": 1}, "same_period_more_bytes"),
        ({"bytes": 100, "files": 0}, {"bytes": 101, "files": 0}, "same_period"),
        ({"bytes": 100, "files": 0}, {"bytes": 101, "files": 1}, "same_period_more_files"),
        ({"bytes": 1}, {"bytes": 2}, "same_period_more_bytes"),
        ({"bytes": 3}, {"bytes": 4}, "same_period"),
        ({"bytes": 3}, {"bytes": 5}, "same_period_more_bytes"),
        # Beyond what a float tells apart.
        ({"bytes": 2 * 10**18}, {"bytes": 3 * 10**18 - 1}, "same_period"),
        ({"bytes": 2 * 10**18}, {"bytes": 3 * 10**18}, "same_period_more_bytes"),
    ],
)
def test_nothing_is_divided(old: dict[str, int], new: dict[str, int], reason: str) -> None:
    assert decide(facts(**new), facts("20240101_000000", **old), None).reason == reason


@pytest.mark.parametrize("version", ["20240101_000000", "20231231_235959"])
def test_no_crawl_replaces_itself_or_a_later_one(version: str) -> None:
    assert decide(facts(version, bytes=10**9), OLD, None) == Decision(KEEP, "same_period", "a/20240101_000000")


@pytest.mark.parametrize(
    ("changes", "action", "reason"),
    [
        ({}, KEEP, "2024_1_not_distinct"),
        ({"checksum": "other"}, ARCHIVE, "new_period"),
        ({"bytes": 101, "checksum": never}, ARCHIVE, "new_period"),
        ({"bytes": 99, "checksum": never}, ARCHIVE, "new_period"),
        # More errors, and no more files and no more bytes.
        ({"errors": 3, "checksum": never}, KEEP, "2024_1_not_distinct_maybe"),
        ({"errors": 3, "files": 9, "bytes": 99, "checksum": never}, KEEP, "2024_1_not_distinct_maybe"),
        ({"errors": 3, "files": 11, "bytes": 99, "checksum": never}, ARCHIVE, "new_period"),
        ({"errors": 3, "files": 9, "bytes": 101, "checksum": never}, ARCHIVE, "new_period"),
        ({"errors": 1, "files": 9, "bytes": 99, "checksum": never}, ARCHIVE, "new_period"),
        # What counts is the data, whatever its files are called and how many errors there were.
        ({"errors": 1, "files": 11}, KEEP, "2024_1_not_distinct"),
        ({"bytes": 0, "checksum": never}, ARCHIVE, "new_period"),
        # Kingfisher Collect's own files differ each time.
        ({"bytes": 132, "data_bytes": 100}, KEEP, "2024_1_not_distinct"),
    ],
)
def test_a_crawl_of_another_month_must_be_distinct(changes: dict[str, Any], action: str, reason: str) -> None:
    old = facts("20240101_000000")
    assert decide(facts("20240201_000000", **changes), None, old) == Decision(action, reason, old.id)


def test_nothing_is_not_distinct_from_nothing() -> None:
    nothing = {"bytes": 0, "files": 0, "errors": 0}
    found = decide(facts("20240201_000000", **nothing), None, facts("20240101_000000", **nothing))
    assert found == Decision(KEEP, "2024_1_not_distinct", "a/20240101_000000")


def test_december_is_compared_with_january() -> None:
    old = facts("20231231_235959")
    assert decide(facts("20240101_000000"), None, old) == Decision(KEEP, "2023_12_not_distinct", old.id)


def test_the_same_month_counts_more_than_an_earlier_one() -> None:
    earlier = facts("20231201_000000")
    assert decide(facts(bytes=150), OLD, earlier).reason == "same_period_more_bytes"
