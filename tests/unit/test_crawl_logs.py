"""Finding the log of a crawl: by job, by time, and never outside the logs directory."""

# ruff: noqa: DTZ001 # naive, like the names of crawl directories

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kingfisher_salt import crawl_logs
from kingfisher_salt.crawl_logs import LogIndex, Unreadable, companions, is_crawl_log

VERSION = datetime(2021, 3, 4, 5, 6, 7)
JOB = "7df53218f37a11eb80dd0c9d92c523cb"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    directory = tmp_path / "logs"
    (directory / "spain").mkdir(parents=True)
    return directory


@pytest.fixture
def crawl(tmp_path: Path) -> Path:
    directory = tmp_path / "data" / "spain" / "20210304_050607"
    directory.mkdir(parents=True)
    return directory


def write(path: Path, begin: datetime = VERSION) -> Path:
    path.write_text(f"{begin:%Y-%m-%d %H:%M:%S} [scrapy.utils.log] INFO: Scrapy 2.12.0 started (bot: kingfisher)\n")
    return path


def far(path: Path) -> Path:
    """Write a log that can't be found by its time."""
    return write(path, VERSION - timedelta(days=30))


# By job


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("scrapyd-job.txt", JOB),
        ("scrapyd-job.txt", f"{JOB}\n"),
        ("scrapyd-log.txt", JOB),
        ("scrapyd-log.txt", f"{JOB}.log\n"),
        ("scrapyd-log.txt", f"/home/collect/scrapyd/logs/kingfisher/spain/{JOB}.log"),
        ("scrapyd-log.txt", f"logs/kingfisher/spain/{JOB}.log"),
    ],
)
def test_a_crawl_directory_names_its_job(name: str, given: Any, logs: Path, crawl: Path) -> None:
    write(logs / "spain" / "other.log")
    log = far(logs / "spain" / f"{JOB}.log")
    (crawl / name).write_text(given)

    assert LogIndex(logs).find("spain", crawl, VERSION) == log


def test_the_job_file_comes_before_the_log_file(logs: Path, crawl: Path) -> None:
    log = far(logs / "spain" / "a.log")
    far(logs / "spain" / "b.log")
    (crawl / "scrapyd-job.txt").write_text("a")
    (crawl / "scrapyd-log.txt").write_text("b")

    assert LogIndex(logs).find("spain", crawl, VERSION) == log


def test_a_log_named_by_its_job_is_not_read(logs: Path, crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = far(logs / "spain" / f"{JOB}.log")
    (crawl / "scrapyd-job.txt").write_text(JOB)
    monkeypatch.setattr(crawl_logs, "read_begin", None)

    assert LogIndex(logs).find("spain", crawl, VERSION) == log


@pytest.mark.parametrize("name", ["scrapyd-job.txt", "scrapyd-log.txt"])
@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"\n",
        b"missing",
        b"../spain/far",
        b"../../outside",
        b"/etc/passwd",
        b"..",
        b".",
        b"a..b",
        b"far\0",
        b"far\nfar",
        b"far_report",
        b"\xff\xfe",
        b"x" * 252,
        b"x" * 5000,
        b"\n" * 5000 + b"far",
        b"far" + b"\n" * 5000,
        b"directory",
        b"fifo",
        b"symlink",
        b"dangling",
    ],
)
def test_time_decides_if_no_job_is_named_that_has_a_log(
    name: str, given: Any, logs: Path, crawl: Path, tmp_path: Path
) -> None:
    (crawl / name).write_bytes(given)
    for path in ("far.log", "..log", "....log", "a..b.log", "far_report.log"):
        far(logs / "spain" / path)
    outside = far(tmp_path / "outside.log")
    (logs / "spain" / "directory.log").mkdir()
    os.mkfifo(logs / "spain" / "fifo.log")
    (logs / "spain" / "symlink.log").symlink_to(outside)
    (logs / "spain" / "dangling.log").symlink_to("nowhere")
    log = write(logs / "spain" / "near.log")
    expected = log

    if name == "scrapyd-log.txt" and given == b"../spain/far":  # only the last component of a path counts
        expected = logs / "spain" / "far.log"

    assert LogIndex(logs).find("spain", crawl, VERSION) == expected


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_a_job_file_that_is_no_regular_file_is_left_alone(kind: str, logs: Path, crawl: Path, tmp_path: Path) -> None:
    far(logs / "spain" / f"{JOB}.log")
    log = write(logs / "spain" / "near.log")
    path = crawl / "scrapyd-job.txt"
    if kind == "symlink":
        (tmp_path / "job.txt").write_text(JOB)
        path.symlink_to(tmp_path / "job.txt")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()

    assert LogIndex(logs).find("spain", crawl, VERSION) == log


# By time


@pytest.mark.parametrize(("given", "expected"), [(-1, False), (0, True), (1, True), (2, True), (3, False), (4, False)])
def test_a_log_begins_0_to_3_seconds_before_the_crawl_directory(
    given: Any, expected: Any, logs: Path, crawl: Path
) -> None:
    log = write(logs / "spain" / f"{JOB}.log", VERSION - timedelta(seconds=given))

    assert LogIndex(logs).find("spain", crawl, VERSION) == (log if expected else None)


def test_the_nearest_log_is_chosen_then_the_first_by_name(logs: Path, crawl: Path) -> None:
    for name, seconds in (("a", 2), ("d", 1), ("c", 1), ("b", -1), ("e", 1)):
        write(logs / "spain" / f"{name}.log", VERSION - timedelta(seconds=seconds))

    index = LogIndex(logs)

    assert index.find("spain", crawl, VERSION) == logs / "spain" / "c.log"
    assert index.find("spain", crawl, VERSION - timedelta(seconds=2)) == logs / "spain" / "a.log"


def test_each_log_is_read_once(logs: Path, crawl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(5):
        write(logs / "spain" / f"{n}.log", VERSION - timedelta(days=n))
    reads = []
    read_begin = crawl_logs.read_begin
    monkeypatch.setattr(crawl_logs, "read_begin", lambda path: reads.append(path.name) or read_begin(path))
    index = LogIndex(logs)

    for n in range(5):
        assert index.find("spain", crawl, VERSION - timedelta(days=n)) == logs / "spain" / f"{n}.log"
    assert index.find("france", crawl, VERSION) is None

    assert sorted(reads) == ["0.log", "1.log", "2.log", "3.log", "4.log"]


@pytest.mark.parametrize("name", [f"{JOB}_report.log", f"{JOB}.log.stats", f"{JOB}.txt", "log"])
def test_other_files_are_no_logs(name: str, logs: Path, crawl: Path) -> None:
    write(logs / "spain" / name)

    assert not is_crawl_log(name)
    assert LogIndex(logs).find("spain", crawl, VERSION) is None


def test_logs_that_cannot_be_read_are_passed_over_and_kept_in_mind(logs: Path, crawl: Path, tmp_path: Path) -> None:
    source = logs / "spain"
    log = write(source / "z.log")
    (source / "binary.log").write_bytes(bytes(range(256)))
    os.mkfifo(source / "fifo.log")
    (source / "dangling.log").symlink_to("nowhere")
    (source / "loop.log").symlink_to("loop.log")
    (source / "outside.log").symlink_to(write(tmp_path / "outside.log"))
    (source / os.fsdecode(b"\xff\n.log")).mkdir()
    index = LogIndex(logs)

    assert index.find("spain", crawl, VERSION) == log
    assert index.find("spain", crawl, VERSION) == log
    assert index.unreadable == [
        Unreadable(source / "binary.log", "No time in it"),
        Unreadable(source / "dangling.log", "No such file or directory"),
        Unreadable(source / "fifo.log", "Not a regular file"),
        Unreadable(source / "loop.log", "Too many levels of symbolic links"),
        Unreadable(source / "outside.log", "A symlink leads out of the logs directory"),
        Unreadable(source / os.fsdecode(b"\xff\n.log"), "Not a regular file"),
    ]


def test_a_symlink_within_the_logs_directory_is_followed(logs: Path, crawl: Path) -> None:
    write(logs / "log")
    (logs / "spain" / "a.log").symlink_to("../log")

    assert LogIndex(logs).find("spain", crawl, VERSION) == logs / "spain" / "a.log"


def test_the_logs_directory_itself_can_be_a_symlink(logs: Path, crawl: Path, tmp_path: Path) -> None:
    write(logs / "spain" / "a.log")
    (tmp_path / "link").symlink_to("logs")

    assert LogIndex(tmp_path / "link").find("spain", crawl, VERSION) == tmp_path / "link" / "spain" / "a.log"


@pytest.mark.parametrize("source_id", ["", ".", "..", "../logs/spain", "/etc", "spain\0", "x" * 300, "\ud800"])
def test_a_source_is_one_component_of_a_path(source_id: str, logs: Path, crawl: Path) -> None:
    write(logs / "spain" / "a.log")
    write(logs / "a.log")

    index = LogIndex(logs)

    assert index.find(source_id, crawl, VERSION) is None
    assert index.unreadable == []


def test_a_source_directory_outside_is_not_searched(logs: Path, crawl: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "elsewhere" / "a.log")
    (logs / "france").symlink_to(tmp_path / "elsewhere")
    (logs / "italy").write_text("a file")
    index = LogIndex(logs)

    assert index.find("france", crawl, VERSION) is None
    assert index.find("italy", crawl, VERSION) is None
    assert index.find("missing", crawl, VERSION) is None
    assert index.unreadable == [
        Unreadable(logs / "france", "A symlink leads out of the logs directory"),
        Unreadable(logs / "italy", "Not a directory"),
    ]


def test_a_logs_directory_that_is_missing_has_no_logs(crawl: Path, tmp_path: Path) -> None:
    assert LogIndex(tmp_path / "missing").find("spain", crawl, VERSION) is None


def test_a_crawl_directory_that_is_missing_names_no_job(logs: Path, tmp_path: Path) -> None:
    log = write(logs / "spain" / "a.log")

    assert LogIndex(logs).find("spain", tmp_path / "missing", VERSION) == log


# Companions


def test_companions_are_the_files_made_from_a_log(logs: Path) -> None:
    log = write(logs / "spain" / "a.log")
    statistics = write(logs / "spain" / "a.log.stats")

    assert companions(log) == [statistics]

    report = write(logs / "spain" / "a_report.log")
    write(logs / "spain" / "b_report.log")

    assert companions(log) == [statistics, report]


def test_a_symlink_or_directory_is_no_companion(logs: Path) -> None:
    log = write(logs / "spain" / "a.log")
    (logs / "spain" / "a.log.stats").symlink_to(log)
    (logs / "spain" / "a_report.log").mkdir()

    assert companions(log) == []
