"""Logs, command lines, names and reports, without a Scrapyd."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from kingfisher_salt.errors import KingfisherError
from kingfisher_salt.scrapyd import config, deploy, jobs, logs, processes, reports, schedule
from kingfisher_salt.scrapyd.client import Client
from kingfisher_salt.scrapyd.logs import End

LINE = b"2026-01-31 04:05:06 "
OPENED = LINE + b"[scrapy.core.engine] INFO: Spider opened\n"
ASKED = LINE + b"[scrapy.crawler] INFO: Received SIGINT, shutting down gracefully. Send again to force \n"
STARTED = LINE + b"[scrapy.utils.log] INFO: Scrapy 2.19.0 started (bot: x)\n"
STATS = LINE + b"[scrapy.statscollectors] INFO: Dumping Scrapy stats:\n"


def closed(reason: str) -> bytes:
    return LINE + f"[scrapy.core.engine] INFO: Spider closed ({reason})\n".encode()


@pytest.mark.parametrize(
    ("text", "expected", "by_itself"),
    [
        (b"", End(), False),
        (OPENED, End(known=True), False),
        (OPENED + ASKED, End(known=True, asked=True), False),
        (OPENED + ASKED + closed("shutdown"), End(True, True, "shutdown"), False),
        (OPENED + closed("finished"), End(True, False, "finished"), True),
        (OPENED + closed("closespider_timeout"), End(True, False, "closespider_timeout"), True),
        (OPENED + ASKED + closed("shutdown") + STARTED, End(known=True), False),
        (closed("finished") + OPENED, End(known=True), False),
    ],
)
def test_the_end_of_a_log(text: bytes, expected: End, by_itself: bool) -> None:
    end = logs.read_end(text)
    assert (end, end.by_itself) == (expected, by_itself)


def test_statistics_are_those_of_the_last_run_and_plain() -> None:
    text = STATS + b"{'a': 1}\n" + STATS
    text += (
        b"{'a': 2,\n 'time': datetime.datetime(2026, 1, 31, 4, 5, 6, 7, tzinfo=datetime.timezone.utc),\n"
        b" 'odd': <object at 0x1>}\n" + closed("finished")
    )
    assert logs.stats(b"x\n" + text) == {"a": 2, "time": "2026-01-31T04:05:06", "odd": "<object at 0x1>"}
    assert logs.report(b"x\n" + text) == text[text.rindex(STATS) :]
    assert logs.stats(STATS + b"{'a': 1,\n") is None
    assert logs.stats(b"") is None


@pytest.mark.parametrize("begin", [STARTED, OPENED])
def test_statistics_of_the_run_before_are_not_those_of_this_one(begin: bytes) -> None:
    before = STATS + b"{'finish_reason': 'shutdown'}\n" + closed("shutdown")
    assert logs.stats(before) == {"finish_reason": "shutdown"}
    assert logs.stats(before + begin) is None
    assert logs.stats(before + begin + before) == {"finish_reason": "shutdown"}


@pytest.mark.parametrize(
    ("text", "count", "expected"),
    [
        (b"", 2, ""),
        (b"one\ntwo\nthree\n", 2, "two\nthree"),
        (b"one\ntwo", 1, "two"),
        (b"one\ntwo\n", 0, ""),
        (b"one\ntwo\n", 9, "one\ntwo"),
        (b"a\x85\xe2\x80\xa8b\n", 1, "a\N{REPLACEMENT CHARACTER}\u2028b"),
        (b"".join(b"%d%s\n" % (n, b"x" * 5000) for n in range(9)), 2, f"7{'x' * 5000}\n8{'x' * 5000}"),
        (b"x" * (1 << 24) + b"\nlast\n", 2, "(1 lines in the last 16 MiB: what is before them is left out)\nlast"),
    ],
)
def test_the_last_lines_of_a_log_are_whole(tmp_path: Path, text: bytes, count: int, expected: str) -> None:
    path = tmp_path / "p" / "s" / "j.log"
    path.parent.mkdir(parents=True)
    path.write_bytes(text)
    reader = logs.Logs(Client(config.load({"logs_directory": str(tmp_path)}, {})))
    assert reader.last_lines("p", "s", "j", count) == expected
    assert reader.last_lines("p", "s", "other", count) is None


def test_a_line_without_an_end_takes_no_time() -> None:
    begin = time.monotonic()
    assert logs.stats(b"[" * (1 << 20)) is None
    assert logs.read_end(b"] INFO: Scrapy " * (1 << 16)) == End()
    assert time.monotonic() - begin < 30


def test_a_command_line_is_taken_apart() -> None:
    argv = "python -m scrapyd.runner crawl slow -s A=b=c -s LOG_FILE=/l/p/slow/j.log -a _job=j -a qs:x=1\n2".split(" ")  # noqa: SIM905
    assert processes.parse(argv) == (
        "slow",
        {"_job": "j", "qs:x": "1\n2"},
        {"A": "b=c", "LOG_FILE": "/l/p/slow/j.log"},
    )
    for other in (["crawl"], ["python", "crawl", "x"], ["python", "-m", "x", "crawl", "s", "-x", "a=b"], []):
        assert processes.parse(other) is None


def test_processes_are_read(tmp_path: Path) -> None:
    def add(pid: int, argv: list[str], parent: int, environment: str = "") -> None:
        directory = tmp_path / str(pid)
        directory.mkdir()
        (directory / "cmdline").write_text("".join(f"{text}\0" for text in argv))
        (directory / "stat").write_text(f"{pid} (a) b) S {parent} 1")
        (directory / "environ").write_text(environment)

    crawl = ["python", "-m", "scrapyd.runner", "crawl", "slow"]
    add(1, ["init"], 0)
    add(10, ["/x/python", "/x/bin/scrapyd"], 1)
    add(11, [*crawl, "-a", "_job=known", "-a", "_version=2"], 10, "SCRAPY_PROJECT=p\0")
    add(12, [*crawl, "-a", "_job=known", "-a", "_version=2"], 11)
    add(13, [*crawl, "-a", "_job=orphan"], 1)
    add(14, [], 1)
    found = processes.crawl_processes(tmp_path)
    assert {job: (p.pid, p.project, p.version, p.orphaned) for job, p in found.items()} == {
        "known": (11, "p", "2", False),
        "orphan": (13, None, None, True),
    }


def test_settings_that_scrapyd_adds_are_not_kept() -> None:
    given = {"LOG_FILE": "/l/p/s/j.log", "JOBDIR": "/j/p/s/j", "FEEDS": '{"file:///i/p/s/j.jl": {}}', "A": "b"}
    assert processes.own_settings(given, "p", "s", "j") == {"A": "b"}
    own = {"LOG_FILE": "/mine.log", "JOBDIR": "/mine", "FEEDS": "{}"}
    assert processes.own_settings(own, "p", "s", "j") == own


def test_arguments_become_text() -> None:
    given = {"a": True, "b": 1, "c": 1.5, "d": None, "e": "x=y"}
    assert schedule.texts(given, "argument") == {"a": "true", "b": "1", "c": "1.5", "e": "x=y"}
    for wrong in ({"a=b": 1}, {"": 1}, {"a": [1]}, {"a": "\0"}, {"_job": "1"}, {"name": "x"}):
        with pytest.raises(KingfisherError):
            schedule.texts(wrong, "argument")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"sample": "1", "note": "x"}, {"sample": "1"}, True),
        ({"sample": "1"}, {"sample": "2"}, False),
        ({"crawl_time": "2026-01-31"}, {"crawl_time": "2026-01-31T00:00:00"}, True),
        ({"crawl_time": "2026-01-31"}, {}, False),
        ({"a": ""}, {}, True),
    ],
)
def test_the_same_arguments(one: dict, other: dict, same: bool) -> None:
    assert jobs.same_arguments(one, other) is same


def test_arguments_in_a_log() -> None:
    text = LINE + b"[slow] INFO: Spider arguments: {'sample': 1, 'path': None, 'x': 'y', '_job': 'j'}\n"
    assert jobs.arguments_in(STARTED + text) == {"sample": "1", "x": "y", "_job": "j"}
    assert jobs.arguments_in(text[:-10]) is None
    assert jobs.arguments_in(STARTED) is None


def test_the_job_of_a_name() -> None:
    one = schedule.job_of("My crawl / 2026", "p")
    assert one == schedule.job_of("My crawl / 2026", "p")
    assert one.startswith("My-crawl-2026-") and jobs.is_name(one)
    assert len({one, schedule.job_of("My crawl 2026", "p"), schedule.job_of("My crawl / 2026", "q")}) == 3


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\n", "x" * 201])
def test_names_that_would_cost_a_slot(name: str) -> None:
    assert not jobs.is_name(name)


def test_a_version_as_scrapyd_lists_it() -> None:
    assert deploy.sanitized("r10-main 1.0/x") == "r10-main_1_0_x"


def test_reports_follow_their_logs_and_spare_those_of_others(tmp_path: Path) -> None:
    spider = tmp_path / "p" / "slow"
    spider.mkdir(parents=True)
    log, report = spider / "j.log", spider / "j_report.log"
    log.write_bytes(OPENED + STATS + b"{'a': 1}\n" + closed("finished"))
    (spider / "other_report.log").write_text("somebody's")
    (spider / "running.log").write_bytes(OPENED)
    (spider / "link.log").symlink_to(log)
    (tmp_path / "p" / ".report-left").write_text("")
    assert reports.write_reports(tmp_path, "p")["written"] == [str(report)]
    assert not (tmp_path / "p" / ".report-left").exists()
    assert log.stat().st_mtime - report.stat().st_mtime == pytest.approx(reports.AGE / 1e9, abs=2)
    with log.open("ab") as file:
        file.write(STARTED + OPENED + STATS + b"{'a': 2}\n" + closed("finished"))
    os.utime(log, (time.time() + 60,) * 2)
    assert reports.write_reports(tmp_path, None)["written"] == [str(report)]
    assert report.read_bytes().startswith(STATS + b"{'a': 2}")
    with log.open("ab") as file:
        file.write(STARTED + OPENED)
    os.utime(log, (time.time() + 120,) * 2)
    assert reports.write_reports(tmp_path, None)["written"] == []
    log.unlink()
    assert reports.write_reports(tmp_path, None)["deleted"] == [str(report)]
    assert sorted(path.name for path in spider.iterdir()) == ["link.log", "other_report.log", "running.log"]
    with pytest.raises(KingfisherError, match="has no directory q"):
        reports.write_reports(tmp_path, "q")
