"""A real Scrapyd that is drained, restarted and resumed, with the drain killed at each step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from tests.functional.conftest import Minion
from tests.functional.scrapyd_server import PROJECT, PROJECT_DIRECTORY, Host, Server, wait_for

ROOT = Path(__file__).parents[2]
PAGES = [str(number) for number in range(1, 9)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("scrapyd"), max_proc=1) as server:
        server.deploy(PROJECT, PROJECT_DIRECTORY)
        yield server


@pytest.fixture
def host(tmp_path: Path, minion: Minion, server: Server) -> Host:
    return Host(tmp_path, minion, server)


def begin(host: Host) -> tuple[str, str, Path, Path]:
    """Begin a crawl, and let another one wait. Returns the jobs, and where they write what they retrieved."""
    outs = host.root / "running.txt", host.root / "pending.txt"
    running = host.server.begin("slow", pages=str(len(PAGES)), out=str(outs[0]), qs="a b='c'\n%d")
    wait_for(lambda: outs[0].exists() and len(outs[0].read_text().split()) >= 2)
    pending = host.server.begin("quick", state="pending", pages="1", out=str(outs[1]), priority="3")
    return running, pending, *outs


def check_whole(host: Host, running: Path, pending: Path) -> None:
    """Check that each page was retrieved once: that the crawls went on where they stopped."""
    host.server.wait(PROJECT)
    assert running.read_text().split() == PAGES
    assert pending.read_text().split() == ["1"]


@pytest.mark.parametrize("restart", [False, True])
def test_a_crawl_goes_on_where_it_stopped(host: Host, restart: bool) -> None:
    running, pending, *outs = begin(host)
    plan = host.call("drain", dry_run=True)
    assert (plan["running"], plan["pending"], plan["drained"]) == ([running], [pending], False)
    assert not host.drain_file.exists()
    result = host.call("drain", timeout=0)
    assert (result["drained"], sorted(result["jobs"])) == (True, sorted([running, pending]))
    assert result["jobs"][running]["goes_on"] is True
    assert host.server.ids("running") == host.server.ids("pending") == []
    assert host.drain_file.stat().st_mode & 0o777 == 0o600
    assert '"priority": 3.0' in host.drain_file.read_text()
    for function in ("schedule", "schedule_once"):
        with pytest.raises(CommandExecutionError, match=r"is drained since .* run scrapyd.resume"):
            host.call(function, *(["name"] if function == "schedule_once" else []), "quick")
    assert host.call("drain", timeout=0)["drained"] is True
    if restart:
        host.server.restart()
    assert sorted(host.call("resume", dry_run=True)["scheduled"]) == sorted([running, pending])
    resumed = host.call("resume")
    assert (resumed["resumed"], resumed["failed"]) == (True, {})
    assert resumed["scheduled"][running] == "slow: it goes on where it stopped"
    assert not host.drain_file.exists()
    assert host.call("resume")["scheduled"] == {}
    check_whole(host, *outs)


def test_running_crawls_may_come_to_their_end(host: Host) -> None:
    running, pending, *outs = begin(host)
    result = host.call("drain", timeout=60)
    assert (result["finished"], list(result["jobs"])) == ([running], [pending])
    host.call("resume")
    check_whole(host, *outs)


def test_jobs_that_others_schedule_meanwhile_are_caught(host: Host) -> None:
    running, pending, *outs = begin(host)
    late: list[str] = []
    thread = threading.Timer(0.7, lambda: late.append(host.server.schedule(PROJECT, "quick", {}, pages="1")))
    thread.start()
    result = host.call("drain", timeout=2)
    thread.join()
    assert result["drained"] is True
    assert sorted([*result["jobs"], *result["finished"]]) == sorted([running, pending, *late])
    host.call("resume")
    check_whole(host, *outs)


def test_what_ignores_signals_is_told_then_forced(host: Host) -> None:
    job = host.server.begin("stubborn")
    result = host.call("drain", timeout=0, grace=1)
    assert result["drained"] is False
    assert "still runs" in result["failed"][job]
    assert host.minion.retcode == 1
    assert "still runs" in host.call("resume")["failed"][job]
    forced = host.call("drain", timeout=0, grace=0, force=True)
    assert (forced["drained"], list(forced["jobs"])) == (True, [job])
    assert host.call("resume", drop=job)["resumed"] is True


def test_a_crawl_of_a_deleted_project_keeps_no_other_from_being_stopped(tmp_path: Path, minion: Minion) -> None:
    with Server(tmp_path / "scrapyd") as server:
        host = Host(tmp_path, minion, server)
        for project in ("gone", PROJECT):
            server.deploy(project, PROJECT_DIRECTORY)
        orphan = server.schedule("gone", "slow", {})
        wait_for(lambda: orphan in server.ids("running"))
        other = server.begin("slow")
        server._post("delproject", {"project": "gone"})
        pid = next(job["pid"] for job in server.listing()["running"] if job["id"] == orphan)
        message = (
            f"job {orphan} of slow cannot be cancelled (Scrapyd at {server.url} answered to cancel: project 'gone' "
            f"not found): run kill -INT {pid} on its host, and rerun"
        )
        for _ in range(2):
            result = host.call("drain", timeout=0, grace=2)
            assert (result["drained"], result["failed"]) == (False, {orphan: message})
            assert server.ids("running") == [orphan]
        os.kill(pid, signal.SIGINT)
        result = host.call("drain", timeout=0)
        assert (result["drained"], sorted(result["jobs"])) == (True, sorted([orphan, other]))


def test_a_version_that_is_gone_keeps_the_job_in_the_file(host: Host) -> None:
    host.server.deploy(PROJECT, PROJECT_DIRECTORY, "0")
    job = host.server.begin("slow", _version="0")
    host.call("drain", timeout=0)
    host.call("delete_version", "0")
    result = host.call("resume")
    assert result["resumed"] is False
    assert "version '0' not found" in result["failed"][job]
    host.server.deploy(PROJECT, PROJECT_DIRECTORY, "0")
    assert list(host.call("resume")["scheduled"]) == [job]
    host.call("cancel", job)
    host.call("delete_version", "0")


def killed(host: Host, function: str, point: int) -> bool:
    """Run a drain, or a resumption, in a process that kills itself at the given step. Returns whether it did."""
    script = f"""
        import os, signal, sys
        sys.path.insert(0, {str(ROOT / "_utils")!r})
        from kingfisher_salt.scrapyd import client, config, drain, logs, resume
        steps = 0
        def step(name):
            global steps
            steps += 1
            if steps == {point}:
                os.kill(os.getpid(), signal.SIGKILL)
        mine = client.Client(config.load({host.pillar!r}, {{}}))
        if {function!r} == "drain":
            drain.drain(mine, logs.Logs(mine), drain.Options(timeout=0, pause=0.1), step)
        else:
            resume.resume(mine, logs.Logs(mine), step=step)
    """
    code = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False).returncode
    assert code in (0, -signal.SIGKILL)
    return code != 0


# Of a drain: begin, save, cancel, mark, signal, settle. Of a resumption: begin, then mark, schedule, forget, twice.
@pytest.mark.parametrize("points", [(1, 3), (2, 2), (3, 7), (4, 1), (5, 5), (6, 6)])
def test_killed_at_each_step_nothing_is_lost_or_doubled(host: Host, points: tuple[int, int]) -> None:
    running, pending, *outs = begin(host)
    was_killed = killed(host, "drain", points[0])
    assert host.call("drain", timeout=0)["drained"] is True
    # One that was about to be asked to stop may come to its own end before the drain is run again.
    assert {pending} <= set(host.call("resume", dry_run=True)["scheduled"]) <= {running, pending}
    was_killed |= killed(host, "resume", points[1])
    assert host.call("resume")["resumed"] is True
    check_whole(host, *outs)
    assert was_killed
    for job in (running, pending):
        text = "".join(path.read_text() for path in (host.server.directory / "logs").glob(f"*/*/{job}.log"))
        assert text.count("Spider closed (finished)") == 1
        assert "forcing unclean shutdown" not in text


def test_scrapyd_killed_in_the_middle_of_a_drain(host: Host) -> None:
    running, pending, *outs = begin(host)
    killed(host, "drain", 3)
    host.server.stop()
    host.server.start()
    with pytest.raises(CommandExecutionError, match="is drained since"):
        host.call("schedule", "quick")
    assert sorted(host.call("drain", timeout=0)["jobs"]) == sorted([running, pending])
    host.call("resume")
    host.server.wait(PROJECT)
    # Killed, a crawl has not written down where it was: pages may be retrieved again, and none is missing.
    assert sorted(set(outs[0].read_text().split()), key=int) == PAGES
    assert outs[1].read_text().split() == ["1"]
