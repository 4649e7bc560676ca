"""What a person sees of a job that goes on."""

import io
from typing import Any

import pytest
from kingfisher_salt.progress import (
    PLAIN_INTERVAL,
    RATE_WINDOW,
    Board,
    Progress,
    describe_summary,
    show_bytes,
    show_seconds,
)

MB = 1_000_000


def event(done: int = 0, read: int = 0, *, total: int = 10, seconds: float = 0, **more: Any) -> dict[str, Any]:
    """Return an event of a run over ten crawls of 10 MB each."""
    return {
        "jid": "1",
        "done": done,
        "total": total,
        "done_bytes": done * 10 * MB,
        "total_bytes": total * 10 * MB,
        "failed": 0,
        "seconds": seconds,
        "read": done * 10 * MB + read,
        **more,
    }


@pytest.fixture
def run() -> Progress:
    return Progress("registry", 0)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (9_994, "9.99 kB"),
        (9_996, "10.0 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.00 MB"),
        (1_234_567_890, "1.23 GB"),
        (5e18, "5000 PB"),
    ],
)
def test_bytes_have_three_digits(count: float, expected: str) -> None:
    assert show_bytes(count) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-1, "0:00"),
        (0.4, "0:00"),
        (59.6, "1:00"),
        (61, "1:01"),
        (3599, "59:59"),
        (3723, "1:02:03"),
        (360000, "100:00:00"),
    ],
)
def test_seconds_are_shown_as_a_clock_does(seconds: float, expected: str) -> None:
    assert show_seconds(seconds) == expected


def test_nothing_is_known_before_the_first_event(run: Progress) -> None:
    assert run.describe(12) == "deciding which crawls to archive, 0:12"


def test_line_tells_crawls_bytes_rate_time_left_and_crawl(run: Progress) -> None:
    run.update("start", event(), 0)
    run.update("progress", event(2, 5 * MB, seconds=5, id="spain/20240101_000000"), 5)
    assert run.describe(5) == ("25%, 2/10 crawls, 25.0 MB of 100 MB, 5.00 MB/s, 0:15 left, spain/20240101_000000")
    assert run.describe(5, bar=True) == (
        "[#####...............]   25%  2/10 crawls  25.0 MB of 100 MB  5.00 MB/s  0:15 left  spain/20240101_000000"
    )


def test_rate_is_known_at_once_to_who_joins_late(run: Progress) -> None:
    run.update("progress", event(5, seconds=100), 1000)
    assert run.rate(1000) == 50 * MB / 100


def test_rate_forgets_what_is_long_ago(run: Progress) -> None:
    run.update("start", event(), 0)
    for second in range(1, 101):
        run.update(
            "progress", event(0, (second * 100_000) if second <= 50 else 5 * MB + (second - 50) * 10_000), second
        )
    assert run.rate(100) == pytest.approx(10_000)


def test_a_run_that_stalls_has_no_rate_and_no_time_left(run: Progress) -> None:
    run.update("start", event(), 0)
    run.update("progress", event(5, seconds=5), 5)
    assert run.rate(6) > 0
    assert run.rate(5 + RATE_WINDOW) == 0
    assert run.describe(5 + RATE_WINDOW) == "50%, 5/10 crawls, 50.0 MB of 100 MB, 0 B/s"


def test_two_crawls_at_once_do_not_make_it_go_back(run: Progress) -> None:
    run.update("progress", event(0, 9 * MB), 1)
    run.update("progress", event(0, 1 * MB), 2)
    assert run.describe(2).startswith("9%, ")


def test_a_crawl_that_failed_is_said_and_not_counted_as_read(run: Progress) -> None:
    run.update("progress", event(1, 9 * MB, id="spain/20240101_000000"), 1)
    failed = event(1, failed=1, result="failed", id="spain/20240101_000000", error="spain/20240101_000000: it changed")
    assert run.update("crawl", failed | {"failed": 1}, 2) == "spain/20240101_000000: it changed"
    assert run.describe(2).startswith("10%, 1/10 crawls, 1 failed, 10.0 MB of 100 MB")


def test_a_crawl_that_was_archived_is_no_longer_named(run: Progress) -> None:
    run.update("progress", event(0, 9 * MB, id="spain/20240101_000000"), 1)
    assert run.update("crawl", event(1, result="archived", id="spain/20240101_000000"), 2) is None
    assert "spain" not in run.describe(2)


def test_crawls_without_bytes_are_counted(run: Progress) -> None:
    run.update("crawl", event(5) | {"done_bytes": 0, "total_bytes": 0}, 1)
    assert run.describe(1).startswith("50%, 5/10 crawls, 0 B of 0 B")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (event(total=0), "nothing to archive"),
        (event(total=1, dry_run=True), "would archive 1 crawl, 10.0 MB"),
        ({"total": "many", "done_bytes": None, "seconds": "long"}, "nothing to archive"),
    ],
)
def test_start_is_told_in_words(run: Progress, given: dict[str, Any], expected: str) -> None:
    run.update("start", given, 1)
    assert run.describe(1) == expected


def test_events_cannot_move_the_cursor(run: Progress) -> None:
    run.update("progress", event(id="spain\x1b[2J\n"), 1)
    assert run.describe(1).endswith("spain?[2J?")
    assert run.update("crawl", event(result="failed", error="a\rb"), 1) == "a?b"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"crawls": 3, "archived": 2, "bytes": 5 * MB, "seconds": 2.5, "bytes_per_second": 2 * MB, "failed": 1},
            "archived 2 of 3 crawls, 5.00 MB in 0:02, 2.00 MB/s, 1 failed",
        ),
        ({"crawls": 1, "archived": 0, "bytes": 0, "seconds": 0.1}, "archived 0 of 1 crawl, 0 B in 0:00"),
        (
            {"dry_run": True, "crawls": 3, "archive": 2, "bytes": 5 * MB, "seconds": 2.5, "bytes_per_second": 0},
            "would archive 2 of 3 crawls, 5.00 MB",
        ),
    ],
)
def test_summary_is_one_line(given: dict[str, Any], expected: str) -> None:
    assert describe_summary(given) == expected


def screen(text: str) -> list[str]:
    """Return the lines that a terminal shows after it was sent a text."""
    lines = [""]
    for piece in text.replace("\x1b[J", "\0").replace("\x1b[", "\1").split("\1"):
        if piece[:2] in {"1A", "2A", "3A"}:
            assert piece[2:4] == "\r\0"
            lines = [*lines[: len(lines) - int(piece[0]) - 1], ""]
            piece = piece[4:]  # noqa: PLW2901
        first, *rest = piece.split("\n")
        lines = [*lines[:-1], lines[-1] + first, *rest]
    return lines[:-1]


def test_terminal_shows_runs_in_place_under_what_stays() -> None:
    stream = io.StringIO()
    board = Board(stream, lambda: (40, 24))
    runs = [Progress("one", 0), Progress("three", 0)]
    board.say("Begun.")
    board.show(runs, 1)
    board.show(runs, 1.1)
    assert screen(stream.getvalue()) == [
        "Begun.",
        "one    deciding which crawls to archive",
        "three  deciding which crawls to archive",
    ]
    board.say("one: done")
    board.show(runs[1:], 1.2)
    assert screen(stream.getvalue()) == ["Begun.", "one: done", "three  deciding which crawls to archive"]
    board.close()
    assert screen(stream.getvalue()) == ["Begun.", "one: done"]


def test_terminal_shows_no_more_runs_than_it_has_lines() -> None:
    stream = io.StringIO()
    Board(stream, lambda: (80, 4)).show([Progress(f"minion-{number}", 0) for number in range(9)], 1)
    assert [line[:10] for line in screen(stream.getvalue())] == ["minion-0  ", "minion-1  ", "and 7 more"]


def test_elsewhere_a_run_has_a_line_now_and_then() -> None:
    stream = io.StringIO()
    board = Board(stream, None)
    run = Progress("one", 0)
    board.show([run], 0)
    board.show([run], PLAIN_INTERVAL - 0.1)
    assert stream.getvalue() == ""
    board.show([run], PLAIN_INTERVAL)
    board.show([run], PLAIN_INTERVAL + 1)
    assert stream.getvalue() == "one: deciding which crawls to archive, 0:10\n"
    run.update("start", event(total=0), 11)
    board.show([run], 2 * PLAIN_INTERVAL)
    board.show([run], 3 * PLAIN_INTERVAL)
    assert stream.getvalue().splitlines()[1:] == ["one: nothing to archive"]


def test_a_stream_that_is_gone_is_no_error() -> None:
    stream = io.StringIO()
    stream.close()
    board = Board(stream, lambda: (80, 24))
    board.show([Progress("one", 0)], 1)
    board.say("done")
    board.close()
