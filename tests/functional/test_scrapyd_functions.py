"""The execution functions of Scrapyd, against a real one."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.functional.conftest import Minion
from tests.functional.scrapyd_server import PROJECT, PROJECT_DIRECTORY, SPIDERS, Host, Server, wait_for


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("scrapyd")) as server:
        server.deploy(PROJECT, PROJECT_DIRECTORY)
        yield server


@pytest.fixture
def host(tmp_path: Path, minion: Minion, server: Server) -> Iterator[Host]:
    yield Host(tmp_path, minion, server)
    for state in ("pending", "running"):
        for job in server.listing()[state]:
            server._post("cancel", {"project": PROJECT, "job": job["id"], "signal": "KILL"})
    wait_for(lambda: not server.ids("pending") and not server.ids("running"))


# schedule


def test_schedule_starts_a_crawl(host: Host) -> None:
    result = host.call("schedule", "quick", note="Started by NAME.", pages=2, crawl_time="2026-01-31")
    job = result["job"]
    assert result == {
        "job": job,
        "project": PROJECT,
        "spider": "quick",
        "version": None,
        "arguments": {"note": "Started by NAME.", "pages": "2", "crawl_time": "2026-01-31"},
        "scheduled": True,
        "state": result["state"],
        "log": f"{host.server.url}/logs/{PROJECT}/quick/{job}.log",
    }
    assert result["state"] in ("pending", "running")
    wait_for(lambda: host.call("status", job)["state"] == "finished")
    stats = host.call("stats", job)
    assert stats["finish_reason"] == "finished"
    assert stats["stats"]["item_scraped_count"] == 2
    assert host.call("log", job, lines=1).endswith("Spider closed (finished)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spider": "quik"}, "argument spider: project kingfisher has no spider quik: did you mean quick?"),
        ({"spider": "quick", "project": "kingfishr"}, "project kingfishr is unknown: did you mean kingfisher?"),
        ({"spider": "quick", "version": "2"}, "argument version: project kingfisher has no version 2 (known: 1)"),
        ({"spider": "quick", "crawl_time": "yesterday"}, "argument crawl_time must be a time like 2026-01-31"),
        ({"spider": "quick", "jobid": "../../x"}, "argument jobid must be fit for a file name"),
        ({"spider": "quick", "setting": "x"}, "argument setting cannot be a spider argument"),
        ({"spider": "quick", "pages": [1]}, "argument pages must be text or a number"),
    ],
)
def test_schedule_refuses_in_one_sentence(host: Host, arguments: dict, message: str) -> None:
    before = host.server.listing()
    with pytest.raises(CommandExecutionError) as error:
        host.call("schedule", **arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert host.server.listing() == before


def test_schedule_tells_what_it_would_do(host: Host) -> None:
    before = host.server.listing()
    result = host.call("schedule", "quick", dry_run=True)
    assert (result["scheduled"], result["job"]) == (False, None)
    assert host.server.listing() == before
    assert not list(host.root.iterdir())


@pytest.mark.parametrize("state", ["pending", "working"])
def test_unless_running_compares_spider_and_arguments(host: Host, state: str) -> None:
    busy = [host.server.begin("stubborn") for _ in range(3)] if state == "pending" else []
    job = host.server.begin("slow", state=state, sample="1", note="by NAME")
    same = host.call("schedule", "slow", sample=1, note="by somebody else")
    assert (same["scheduled"], same["job"]) == (False, job)
    other = host.call("schedule", "slow", sample=2)
    assert other["scheduled"] is True
    assert host.call("schedule", "slow", sample=1, unless_running=False)["scheduled"] is True
    # Between the queue and its process, a crawl is in neither list.
    wait_for(lambda: host.server.active() == 3 + len(busy))


def test_unless_running_starts_none_if_arguments_cannot_be_read(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    from kingfisher_salt.scrapyd import schedule

    telling, silent = host.server.begin("slow", sample="1"), host.server.begin("silent", sample="1")
    # As if Scrapyd were on another host.
    monkeypatch.setattr(schedule, "crawl_processes", dict)
    assert host.call("schedule", "slow", sample=1, pages=1000)["job"] == telling  # from "Spider arguments" in its log
    assert host.call("schedule", "silent", sample=2)["reason"] == (
        f"job {silent} of the same spider is running, with arguments that cannot be read from here: if they are "
        "others, schedule with unless_running=False"
    )


def test_ten_callers_start_one_crawl(host: Host) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from kingfisher_salt.scrapyd import client, config, logs, schedule

    def run(_: int) -> bool:
        mine = client.Client(config.load({k: v for k, v in host.pillar.items() if v is not None}, {}))
        return bool(schedule.schedule(mine, logs.Logs(mine), schedule.Request("slow"))["scheduled"])

    with ThreadPoolExecutor(10) as pool:
        assert sorted(pool.map(run, range(10))) == [False] * 9 + [True]


def test_schedule_once_is_once(host: Host) -> None:
    first = host.call("schedule_once", "my crawl", "quick", arguments={"pages": 1})
    assert first["scheduled"] is True
    wait_for(lambda: host.call("status", first["job"])["state"] == "finished")
    assert host.call("schedule_once", "my crawl", "quick")["scheduled"] is False
    host.configure(scheduled_file=str(host.root / "lost.json"))
    assert host.call("schedule_once", "my crawl", "quick")["scheduled"] is False
    assert host.call("schedule_once", "another", "quick", dry_run=True)["state"] is None


# jobs, status, log, stats


def test_jobs_are_told_by_state(host: Host) -> None:
    job = host.server.begin("slow")
    found = host.call("jobs", state="running")
    assert [entry["job"] for entry in found["running"]] == [job]
    assert found["total"] == {"running": 1}
    assert host.call("jobs", spider="nobody")["total"] == {"pending": 0, "running": 0, "finished": 0}
    with pytest.raises(CommandExecutionError, match="argument state must be one of"):
        host.call("jobs", state="done")


def test_an_unknown_job_is_said_to_be_unknown(host: Host) -> None:
    for function in ("status", "log", "stats", "cancel"):
        with pytest.raises(CommandExecutionError, match="job nonsense is unknown to Scrapyd at"):
            host.call(function, "nonsense")


def test_a_job_that_scrapyd_has_forgotten_is_found_by_its_log(host: Host) -> None:
    log = host.server.log("quick", "old")
    log.parent.mkdir(parents=True, exist_ok=True)
    stats = "2026-01-31 04:05:06 [scrapy.statscollectors] INFO: Dumping Scrapy stats:\n{'finish_reason': 'finished'}\n"
    log.write_text("x" * (1 << 22) + "\n" + stats + "2026-01-31 04:05:06 [x] INFO: after\n" * 2000)
    try:
        assert host.call("status", "old")["state"] == "forgotten"
        assert host.call("stats", "old")["finish_reason"] == "finished"
    finally:
        log.unlink()


def test_logs_are_read_through_scrapyd_where_they_are_not_here(host: Host) -> None:
    job = host.server.begin("quick", state="finished")
    text, stats = host.call("log", job, lines=25), host.call("stats", job)
    assert text.splitlines() == host.server.log("quick", job).read_text().splitlines()[-25:]
    host.configure(logs_directory=None)
    assert host.call("log", job, lines=25) == text
    assert host.call("stats", job) == stats
    with pytest.raises(CommandExecutionError, match="scrapyd:logs_directory is not set"):
        host.call("write_reports")


def test_statistics_are_not_those_of_the_run_that_a_drain_stopped(host: Host) -> None:
    job = host.server.begin("slow")
    host.call("drain", timeout=0)
    assert host.call("stats", job)["finish_reason"] == "shutdown"
    host.call("resume")
    log = host.server.log("slow", job)
    wait_for(lambda: log.read_text().count("Spider opened") == 2)
    wait_for(lambda: "Crawled (200)" in log.read_text().rpartition("Spider opened")[2])
    with pytest.raises(CommandExecutionError, match="has no statistics: it has not ended"):
        host.call("stats", job)
    assert not any(job in path for path in host.call("write_reports")["written"])
    host.call("cancel", job)
    assert host.call("stats", job)["finish_reason"] == "shutdown"


def test_statistics_of_a_pending_job_are_not_those_of_its_run_before(host: Host) -> None:
    job = host.server.begin("slow")
    host.call("drain", timeout=0)
    for _ in range(3):
        host.server.begin("stubborn")
    host.call("resume")
    with pytest.raises(CommandExecutionError, match=f"job {job} is pending"):
        host.call("stats", job)


def test_projects_versions_spiders_and_status(host: Host) -> None:
    assert host.call("projects") == [PROJECT]
    assert host.call("versions") == ["1"]
    assert host.call("spiders") == SPIDERS
    assert host.call("status")["drained"] is False


@pytest.mark.parametrize(("function", "arguments"), [("jobs", {"limit": -1}), ("drain", {"timeout": "x"})])
def test_wrong_numbers_are_refused(host: Host, function: str, arguments: dict) -> None:
    with pytest.raises(SaltInvocationError, match=r"must be a number, 0 or more, not"):
        host.call(function, **arguments)


# cancel


def test_cancel_is_confirmed_by_the_state(host: Host) -> None:
    job = host.server.begin("slow")
    assert host.call("cancel", job, dry_run=True)["state"] == "running"
    result = host.call("cancel", job)
    assert (result["before"], result["state"], result["signals"]) == ("running", "finished", ["INT"])
    assert result["finish_reason"] == "shutdown"
    assert "had ended already" in host.call("cancel", job)["comment"]


def test_cancel_removes_a_pending_job(host: Host) -> None:
    for _ in range(3):
        host.server.begin("stubborn")
    job = host.server.begin("slow", state="pending")
    result = host.call("cancel", job)
    assert (result["before"], result["state"], result["signals"]) == ("pending", None, [])


def test_cancel_sends_a_second_signal_only_if_forced(host: Host) -> None:
    job = host.server.begin("stubborn")
    result = host.call("cancel", job, wait=1)
    assert (result["state"], result["signals"]) == ("running", ["INT"])
    assert "force=True" in result["failed"][job]
    assert host.minion.retcode == 1
    forced = host.call("cancel", job, wait=1, force=True)
    assert (forced["state"], forced["signals"][-1]) == ("finished", "KILL")


def test_cancel_does_not_ask_again_what_is_stopping(host: Host) -> None:
    job = host.server.begin("slow")
    host.server._post("cancel", {"project": PROJECT, "job": job})
    wait_for(lambda: "shutting down gracefully" in host.server.log("slow", job).read_text())
    result = host.call("cancel", job)
    assert result["signals"] == []
    assert "forcing unclean shutdown" not in host.server.log("slow", job).read_text()


# health


def problems(host: Host, **arguments: float) -> dict[str, dict]:
    return {problem["problem"]: problem for problem in host.call("health", **arguments)["problems"]}


def test_health_of_a_healthy_server(host: Host) -> None:
    host.configure(lost_hours=0.0001)
    host.server.begin("slow")
    assert problems(host) == {}
    assert host.minion.retcode == 0


def test_health_tells_of_a_crawl_that_hangs(host: Host) -> None:
    job = host.server.begin("slow")
    pid = host.server.listing()["running"][0]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        log = host.server.log("slow", job)
        os.utime(log, (time.time() - 7200,) * 2)
        found = problems(host)["stalled"]
        assert (found["job"], host.minion.retcode) == (job, 1)
        assert f"scrapyd.cancel {job}" in found["cure"]
        host.configure(logs_directory=None)
        assert problems(host)["stalled"]["job"] == job
    finally:
        os.kill(pid, signal.SIGCONT)


def test_health_tells_of_a_crawl_that_was_killed(host: Host) -> None:
    job = host.server.begin("slow")
    os.kill(host.server.listing()["running"][0]["pid"], signal.SIGKILL)
    wait_for(lambda: job in host.server.ids("finished"))
    found = [problem for problem in host.call("health")["problems"] if problem.get("job") == job]
    assert [problem["problem"] for problem in found] == ["lost"]
    assert f"jobid={job}" in found[0]["cure"]


def test_health_tells_of_a_full_disk_and_a_missing_directory(host: Host) -> None:
    host.configure(disk_free_percent=99.9, data_directory=str(host.root / "nowhere"), lost_hours=0.0001)
    assert {"disk", "missing"} <= set(problems(host))


# reports


def test_reports_are_written_once_and_hold_the_statistics(host: Host) -> None:
    job = host.server.begin("failing", state="finished")
    running = host.server.begin("slow")
    report = host.server.log("failing", f"{job}_report")
    assert str(report) in host.call("write_reports", dry_run=True)["written"]
    assert not report.exists()
    assert str(report) in host.call("write_reports")["written"]
    text = report.read_text()
    assert "INFO: Dumping Scrapy stats:\n{" in text.splitlines()[0] + "\n{"
    assert "'spider_exceptions" in text and text.endswith("Spider closed (finished)\n")
    assert not host.server.log("slow", f"{running}_report").exists()
    again = host.call("write_reports")
    assert again["written"] == [] and again["unchanged"] >= 1
    host.server.log("failing", job).unlink()
    assert host.call("write_reports")["deleted"] == [str(report)]
    assert not report.exists()


def test_reports_do_not_cost_logs(tmp_path: Path, minion: Minion) -> None:
    with Server(tmp_path / "scrapyd", jobs_to_keep=3, max_proc=2) as server:
        server.deploy(PROJECT, PROJECT_DIRECTORY)
        host = Host(tmp_path, minion, server)
        for number in range(6):
            server.begin("quick", state="finished", jobid=f"job{number}", pages="1")
            host.call("write_reports")
        names = sorted(path.name for path in server.log("quick", "x").parent.iterdir())
        # Three that were there before the last crawl, and the last one: what Scrapyd keeps without any report.
        logs = ["job2", "job3", "job4", "job5"]
        assert names == sorted([f"{name}.log" for name in logs] + [f"{name}_report.log" for name in logs])


# what goes wrong


def test_ten_thousand_finished_jobs(tmp_path: Path, minion: Minion) -> None:
    directory = tmp_path / "scrapyd"
    options = {"jobstorage": "scrapyd.jobstorage.SqliteJobStorage", "finished_to_keep": 10_000}
    with Server(directory, **options) as server:
        server.deploy(PROJECT, PROJECT_DIRECTORY)
        connection = sqlite3.connect(directory / "dbs/jobs.db")
        begin = datetime(2026, 1, 1)  # noqa: DTZ001 - as Scrapyd has it
        times = [(begin + timedelta(minutes=number)).strftime("%Y-%m-%d %H:%M:%S.%f") for number in range(10_000)]
        rows = [(PROJECT, "quick", f"job{number}", text, text) for number, text in enumerate(times)]
        command = "INSERT INTO finished_jobs (project, spider, job, start_time, end_time) VALUES (?, ?, ?, ?, ?)"
        connection.executemany(command, rows)
        connection.commit()
        connection.close()
        host = Host(tmp_path, minion, server)
        found = host.call("jobs", limit=2)
        assert [entry["job"] for entry in found["finished"]] == ["job9999", "job9998"]
        assert found["total"]["finished"] == 10_000
        job = host.call("schedule", "slow")["job"]
        assert host.call("schedule", "slow")["job"] == job
        assert host.call("status", "job0")["state"] == "finished"
        wait_for(lambda: job in server.ids("running"))
        assert host.call("drain", timeout=0)["drained"] is True
        assert list(host.call("resume")["scheduled"]) == [job]
        assert host.call("cancel", job)["state"] in ("finished", None)


def test_scrapyd_is_down_then_back(tmp_path: Path, minion: Minion) -> None:
    server = Server(tmp_path / "scrapyd")
    host = Host(tmp_path, minion, server)
    with pytest.raises(CommandExecutionError) as error:
        host.call("health")
    assert str(error.value) == (
        f"Scrapyd at {server.url} does not answer (Connection refused): systemctl status scrapyd, or correct "
        "scrapyd:url"
    )
    with pytest.raises(CommandExecutionError):
        host.call("drain")
    assert not host.drain_file.exists()
    with server:
        assert host.call("projects") == []


def test_credentials(tmp_path: Path, minion: Minion, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login collect password secret\n")
    netrc.chmod(0o600)
    server = Server(tmp_path / "s", username="collect", password="secret")
    server.answers = lambda: socket.create_connection(("127.0.0.1", server.port)).close()  # type: ignore[method-assign]
    with server:
        host = Host(tmp_path, minion, server)
        monkeypatch.setenv("NETRC", str(tmp_path / "none"))
        with pytest.raises(CommandExecutionError, match="refuses a request without credentials"):
            host.call("status")
        monkeypatch.setenv("NETRC", str(netrc))
        assert host.call("status")["running"] == 0
        host.configure(username="collect", password="wrong")
        with pytest.raises(CommandExecutionError, match="refuses a request with those in pillar") as error:
            host.call("drain")
        assert not host.drain_file.exists()
        assert "wrong" not in str(error.value)
        with pytest.raises(CommandExecutionError, match="argument password is a secret"):
            host.call("status", password="secret")
        host.configure(password="secret")
        assert host.call("status")["running"] == 0


def test_a_unix_socket(tmp_path: Path, minion: Minion) -> None:
    path = tmp_path / "socket"
    server = Server(tmp_path / "s", unix_socket_path=path)
    server.answers = path.stat  # type: ignore[method-assign]
    with server:
        host = Host(tmp_path, minion, server)
        host.configure(unix_socket=str(path))
        assert host.call("status")["server"] == f"Scrapyd at {path}"
        host.configure(unix_socket=str(tmp_path / "gone"))
        with pytest.raises(CommandExecutionError, match=r"No such file or directory.*correct scrapyd:unix_socket"):
            host.call("status")


def test_a_server_that_has_stopped_looking_at_its_queue(tmp_path: Path, minion: Minion) -> None:
    with Server(tmp_path / "scrapyd") as server:
        server.deploy(PROJECT, PROJECT_DIRECTORY)
        host = Host(tmp_path, minion, server)
        # Whoever holds the queue's database for more than 5 s ends the poller, for good.
        connection = sqlite3.connect(server.directory / f"dbs/{PROJECT}.db", isolation_level=None)
        server.begin("quick", state="finished")
        connection.execute("BEGIN EXCLUSIVE")
        wait_for(lambda: "database is locked" in (server.directory / "scrapyd.log").read_text(), 40)
        connection.execute("ROLLBACK")
        connection.close()
        server.schedule(PROJECT, "quick", {})
        found = problems(host)["stuck"]
        assert "1 crawls are pending, nothing is running" in found["says"]
        assert "systemctl restart scrapyd" in found["cure"]
        host.call("drain", timeout=0)
        server.restart()
        assert host.call("resume")["resumed"] is True
        server.wait(PROJECT)


def test_scrapyd_restarted_under_a_running_crawl(tmp_path: Path, minion: Minion) -> None:
    with Server(tmp_path / "scrapyd") as server:
        server.deploy(PROJECT, PROJECT_DIRECTORY)
        host = Host(tmp_path, minion, server)
        job = server.begin("slow", sample="1")
        os.kill(server.pid, signal.SIGKILL)  # its crawl goes on
        server._process._popen.wait()
        survivor = server._process
        server.start()
        try:
            found = {problem["problem"]: problem for problem in host.call("health")["problems"]}
            assert found["forgotten"]["job"] == job
            assert "Scrapyd has forgotten it" in host.call("schedule", "slow", sample=1)["reason"]
        finally:
            survivor.stop()
        found = {problem["problem"]: problem for problem in host.call("health")["problems"]}
        assert found["lost"]["job"] == job


def test_the_return_code_of_a_command_line(host: Host) -> None:
    """The whole way once, with salt-call as people have it."""
    configuration = host.minion._loaders.opts["conf_file"]
    argv = ["salt-call", "-c", str(Path(configuration).parent), "--local", "--out=json", "scrapyd.spiders"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"quick"' in done.stdout
