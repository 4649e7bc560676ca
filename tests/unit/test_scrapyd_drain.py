"""A drain and a resumption, killed anywhere, lose and double no crawl."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kingfisher_salt.errors import KingfisherError, LockedError
from kingfisher_salt.scrapyd import cancel, config, drain, drainfile, files, jobs, resume
from kingfisher_salt.scrapyd.client import NoAnswerError, RefusedError

from tests.memory_scrapyd import Crawl, KilledError, MemoryScrapyd


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., MemoryScrapyd]:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    monkeypatch.setattr(jobs, "priorities", lambda *_: {})

    def make(**options: Any) -> MemoryScrapyd:
        path = tmp_path / "drain.json"
        path.unlink(missing_ok=True)
        pillar = {"drain_file": str(path), "scheduled_file": str(tmp_path / "scheduled.json")}
        server = MemoryScrapyd(config.load(pillar, {}), **options)
        monkeypatch.setattr(drain, "crawl_processes", server.processes)
        monkeypatch.setattr(drain, "time", server)
        monkeypatch.setattr(resume, "time", server)
        monkeypatch.setattr(cancel, "time", server)
        return server

    return make


def run_drain(server: Any, step: Callable[[str], None] = lambda _: None, **options: Any) -> dict[str, Any]:
    return drain.drain(server, server, drain.Options(**{"timeout": 20, "grace": 60, **options}), step)


def run_resume(server: Any, step: Callable[[str], None] = lambda _: None, **options: Any) -> dict[str, Any]:
    return resume.resume(server, server, step=step, **options)


def crawls() -> Iterator[Crawl]:
    yield Crawl("ends-soon", work=6)
    yield Crawl("long", work=300, arguments={"sample": "1"}, settings={"A": "b"})
    yield Crawl("waits-a-little", work=200, priority=1, version="7")
    yield Crawl("waits", work=2, arguments={"note": "x"})


def finish(server: MemoryScrapyd) -> None:
    for _ in range(2000):
        server.tick()
        if not server.pending and not server.running:
            break
    for crawl in server.crawls.values():
        assert crawl.ends.count("finished") == 1, (crawl.job, crawl.ends)
        assert crawl.done == crawl.work


def killed_at(number: int) -> Callable[[str], None]:
    count = itertools.count(1)

    def step(_name: str) -> None:
        if next(count) == number:
            raise KilledError

    return step


def attempt(server: MemoryScrapyd, function: Callable[..., Any], number: int) -> bool:
    """Run a function that is killed at the given point. Returns whether it was."""
    kill = killed_at(number)
    server.around = kill
    try:
        function(server, kill)
    except KilledError:
        return True
    finally:
        server.around = lambda _name: None
    return False


def test_a_drain_lets_crawls_end_and_stops_the_others(make: Callable[..., MemoryScrapyd]) -> None:
    server = make()
    for crawl in crawls():
        server.add(crawl)
    server.tick()
    result = run_drain(server)
    assert result["drained"] is True
    assert result["failed"] == {}
    assert not server.pending and not server.running
    assert sorted([*result["jobs"], *result["finished"]]) == sorted(server.crawls)
    assert [crawl.signals for crawl in server.crawls.values()] == [0, 0, 1, 0]
    run_resume(server)
    assert drainfile.read(server.config.drain_file) is None
    finish(server)


@pytest.mark.parametrize("restart", [True, False])
@pytest.mark.parametrize("timeout", [0, 20])
@pytest.mark.parametrize("of", ["drain", "resumption", "both"])
def test_killed_at_any_point_nothing_is_lost_or_doubled(
    make: Callable[..., MemoryScrapyd], restart: bool, timeout: int, of: str
) -> None:
    def drained(server: Any, step: Any = lambda _: None) -> Any:
        return run_drain(server, step, timeout=timeout)

    for point in itertools.count(1):
        server = make()
        for crawl in crawls():
            server.add(crawl)
        server.tick()
        was_killed = attempt(server, drained, point) if of != "resumption" else False
        assert drained(server)["drained"]
        assert all(crawl.signals <= 1 for crawl in server.crawls.values())
        if restart:
            server.restart()
        was_killed |= attempt(server, run_resume, point) if of != "drain" else False
        server.tick()
        run_resume(server)
        assert drainfile.read(server.config.drain_file) is None
        finish(server)
        if not was_killed:
            break
    assert point > 10


def test_a_crawl_that_ends_while_a_drain_looks_at_it_is_not_scheduled_again(
    make: Callable[..., MemoryScrapyd],
) -> None:
    for work, point in itertools.product(range(1, 12), range(1, 8)):
        server = make()
        server.add(Crawl("ends", work=work))
        server.tick()
        attempt(server, lambda server, step: run_drain(server, step, timeout=0), point)
        run_drain(server, timeout=0)
        assert run_resume(server)["failed"] == {}
        finish(server)


def test_scrapyd_restarted_in_the_middle_of_a_drain_loses_nothing(make: Callable[..., MemoryScrapyd]) -> None:
    for number in range(1, 40):
        server = make()
        for crawl in crawls():
            server.add(crawl)
        server.tick()
        attempt(server, run_drain, number)
        if not server.config.drain_file.exists() or not drainfile.read(server.config.drain_file).jobs:
            continue  # nobody can know of what ran before that
        server.restart()
        run_drain(server)
        run_resume(server)
        finish(server)


def test_a_drain_after_a_resumption_that_was_killed(make: Callable[..., MemoryScrapyd]) -> None:
    for number in itertools.count(1):
        server = make()
        for crawl in crawls():
            server.add(crawl)
        server.tick()
        run_drain(server)
        was_killed = attempt(server, run_resume, number)
        run_drain(server, timeout=0)
        run_resume(server)
        finish(server)
        if not was_killed:
            break
    assert number > 10


def test_what_does_not_stop_is_told_and_resumed_only_after_its_end(make: Callable[..., MemoryScrapyd]) -> None:
    server = make()
    server.add(Crawl("stubborn", heeds=False))
    server.tick()
    result = run_drain(server)
    assert result["drained"] is False
    assert "stubborn" in result["failed"]
    assert server.crawls["stubborn"].signals == 1
    assert "still runs" in run_resume(server)["failed"]["stubborn"]
    again = run_drain(server)
    assert again["drained"] is False
    assert server.crawls["stubborn"].signals == 1
    forced = run_drain(server, force=True)
    assert forced["drained"] is True
    assert list(run_resume(server)["scheduled"]) == ["stubborn"]
    assert [crawl.job for crawl in server.running] == ["stubborn"]


def test_a_crawl_that_somebody_schedules_meanwhile_is_saved_too(make: Callable[..., MemoryScrapyd]) -> None:
    server = make(slots=1)
    server.add(Crawl("one", work=500))
    server.tick()

    def step(name: str) -> None:
        if name == "signal" and "late" not in server.crawls:
            server.add(Crawl("late", work=50))

    result = run_drain(server, step)
    assert sorted([*result["jobs"], *result["finished"]]) == ["late", "one"]
    assert result["drained"] is True
    run_resume(server)
    finish(server)


def test_a_dry_run_changes_nothing(make: Callable[..., MemoryScrapyd]) -> None:
    server = make()
    for crawl in crawls():
        server.add(crawl)
    server.tick()
    result = run_drain(server, dry_run=True)
    assert set(server.requests) == {"listjobs"}
    assert (result["running"], result["drained"]) == (["waits-a-little", "ends-soon"], False)
    assert not list(server.config.drain_file.parent.iterdir())
    run_drain(server)
    before = server.config.drain_file.read_bytes()
    server.requests.clear()
    assert len(run_resume(server, dry_run=True)["scheduled"]) == len(drainfile.read(server.config.drain_file).jobs)
    assert server.requests == []
    assert server.config.drain_file.read_bytes() == before


def test_a_server_that_does_not_answer_leaves_all_as_it_was(make: Callable[..., MemoryScrapyd]) -> None:
    server = make()

    def down(_name: str) -> None:
        raise NoAnswerError("it is down")

    server.around = down
    with pytest.raises(NoAnswerError):
        run_drain(server)
    assert not server.config.drain_file.exists()
    server.around = lambda _name: None
    run_drain(server)
    before = server.config.drain_file.read_bytes()
    server.around = down
    with pytest.raises(NoAnswerError):
        run_drain(server)
    assert server.config.drain_file.read_bytes() == before


@pytest.mark.parametrize("force", [True, False])
def test_a_crawl_that_scrapyd_does_not_cancel_keeps_no_other_from_being_stopped(
    make: Callable[..., MemoryScrapyd], monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    server = make(slots=2)
    for crawl in (Crawl("refused"), Crawl("long"), Crawl("waits"), Crawl("stays")):
        server.add(crawl)
    server.tick()
    server.slots = 0
    original = server.cancel

    def partly(project: str, job: str, signal: str = "INT") -> str | None:
        if job in ("refused", "stays"):
            raise RefusedError("Scrapyd answered to cancel: no", "no")
        return original(project, job, signal)

    monkeypatch.setattr(server, "cancel", partly)
    result = run_drain(server, force=force)
    assert (result["drained"], sorted(result["jobs"])) == (False, ["long", "refused", "stays", "waits"])
    assert result["failed"] == {
        job: f"job {job} of slow cannot be cancelled (Scrapyd answered to cancel: no): look at its own log, and rerun"
        for job in ("refused", "stays")
    }
    assert [crawl.job for crawl in (*server.pending, *server.running)] == ["stays", "refused"]
    monkeypatch.undo()
    assert [saved.signalled for saved in drainfile.read(server.config.drain_file).jobs if saved.job == "refused"] == [
        False
    ]


@pytest.mark.parametrize(
    ("crawl", "signals", "reason", "comment"),
    [
        (Crawl("ends", work=1), [], "finished", "job ends, which was running, came to its own end"),
        (Crawl("ends", work=9, heeds=False), ["INT"], "finished", "job ends, which was running, came to its own end"),
        (Crawl("ends"), ["INT"], "shutdown", "job ends, which was running, has been cancelled"),
    ],
)
def test_a_crawl_that_nobody_cancelled_is_not_said_to_be_cancelled(
    make: Callable[..., MemoryScrapyd], crawl: Crawl, signals: list[str], reason: str, comment: str
) -> None:
    server = make()
    server.add(crawl)
    server.tick()
    server_: Any = server
    result = cancel.cancel(server_, server_, crawl.job, wait=60)
    assert (result["signals"], result["finish_reason"], result["comment"]) == (signals, reason, comment)


def test_a_crawl_whose_command_line_is_unknown_is_not_guessed(
    make: Callable[..., MemoryScrapyd], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make()
    server.add(Crawl("elsewhere"))
    server.tick()
    monkeypatch.setattr(drain, "crawl_processes", dict)
    monkeypatch.setattr(jobs, "known_arguments", lambda *_: None)
    result = run_drain(server, timeout=0)
    assert "set complete to true" in result["failed"]["elsewhere"]
    resumed = run_resume(server)
    assert resumed["resumed"] is False
    assert "drop=elsewhere" in resumed["failed"]["elsewhere"]
    assert run_resume(server, drop=["elsewhere"])["resumed"] is True


def test_an_unknown_job_cannot_be_dropped(make: Callable[..., MemoryScrapyd]) -> None:
    server = make()
    run_drain(server)
    with pytest.raises(KingfisherError, match="argument drop: job other is not in"):
        run_resume(server, drop=["other"])


def test_a_second_drain_is_kept_away(make: Callable[..., MemoryScrapyd]) -> None:
    server = make()
    with (
        files.locked(drain.run_lock(server), "scrapyd.drain"),
        pytest.raises(LockedError, match=r"is held by process \d+"),
    ):
        run_drain(server)


def test_the_drain_file_is_private(make: Callable[..., MemoryScrapyd]) -> None:
    server = make()
    run_drain(server)
    assert server.config.drain_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        ("[]", "is no drain file"),
        ('{"format": 1, "phase": "drained", "since": "", "jobs": [{"job": "1"}]}', "is no drain file"),
        ('{"format": 2, "phase": "drained", "since": "", "jobs": []}', "another version"),
    ],
)
def test_a_file_that_is_no_drain_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "drain.json"
    path.write_text(content)
    with pytest.raises(KingfisherError, match=message):
        drainfile.read(path)
