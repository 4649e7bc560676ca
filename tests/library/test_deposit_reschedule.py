"""Deposits are rescheduled whole or not at all, against a real server and its scheduler."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from kingfisher_salt.deposit import config as deposit_config
from kingfisher_salt.deposit import deposits, reschedule, server_file
from kingfisher_salt.deposit.config import Config
from kingfisher_salt.deposit.server_file import Server
from kingfisher_salt.errors import KingfisherError

from tests.services.deposit import LOADED, DepositServer

ROOT = Path(__file__).parents[2]
# A loader into the archive would be needed to reach them: those are set by SQL.
BY_SQL = ("expired", "loading", "done", "failed")


@pytest.fixture(scope="module")
def password(deposit_server: DepositServer) -> str:
    return deposit_server.create_client("rescheduler")


@pytest.fixture
def verified(deposit_server: DepositServer, password: str) -> int:
    """Return a deposit that the checker found good, with its loading task."""
    number = deposit_server.upload("rescheduler", password)
    deposit_server.check(number)
    return number


@pytest.fixture
def failed(deposit_server: DepositServer, verified: int) -> int:
    """Return a deposit whose loading failed, by SQL, since there is no archive to load into."""
    deposit_server.load(verified, "failed")
    return verified


@pytest.fixture
def config(deposit_server: DepositServer) -> Config:
    return deposit_config.load(deposit_server.pillar, {})


def run(config: Config, *ids: int, **options: Any) -> dict[str, Any]:
    return reschedule.reschedule(config, server_file.read(config), ids=list(ids), **options)


def is_due(task: dict[str, Any]) -> bool:
    return task["status"] == "next_run_not_scheduled" and task["next_run"] <= datetime.now(tz=timezone.utc)


@contextmanager
def row_locked(deposit_server: DepositServer, number: int) -> Iterator[None]:
    connection = deposit_server.connect()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM deposit WHERE id = %s FOR UPDATE", (number,))
        yield
    finally:
        connection.close()


def test_a_failed_deposit_is_loaded_again(deposit_server: DepositServer, config: Config, failed: int) -> None:
    result = run(config, failed)

    task = deposit_server.deposit(failed)["load_task_id"]
    assert result == {
        "deposits": {
            str(failed): {
                "outcome": "rescheduled",
                "comment": f"deposit {failed} has been reset to verified, and its loading task made due (task {task})",
                "before": "failed",
                "status": "verified",
                "swhid": None,
                "swhid_context": None,
                "task": task,
            }
        },
        "summary": {"rescheduled": 1},
        "dry_run": False,
        "failed": {},
    }
    assert deposit_server.deposit(failed)["status"] == "verified"
    assert is_due(deposit_server.task(failed))


def test_the_identifiers_that_are_dropped_are_returned(
    deposit_server: DepositServer, config: Config, verified: int
) -> None:
    deposit_server.load(verified, "done")

    entry = run(config, verified)["deposits"][str(verified)]

    assert {key: entry[key] for key in LOADED} == LOADED
    row = deposit_server.deposit(verified)
    assert (row["swhid"], row["swhid_context"]) == (None, None)


def test_a_dry_run_changes_nothing(deposit_server: DepositServer, config: Config, failed: int) -> None:
    before = deposit_server.deposit(failed), deposit_server.task(failed)

    entry = run(config, failed, dry_run=True)["deposits"][str(failed)]

    assert entry["comment"].startswith(f"deposit {failed} would have been reset to verified")
    assert (deposit_server.deposit(failed), deposit_server.task(failed)) == before


def test_asking_again_says_that_it_is_scheduled(deposit_server: DepositServer, config: Config, failed: int) -> None:
    run(config, failed)
    before = deposit_server.deposit(failed), deposit_server.task(failed)

    result = run(config, failed)

    assert result["summary"] == {"already_scheduled": 1}
    assert result["failed"] == {}
    assert (deposit_server.deposit(failed), deposit_server.task(failed)) == before


@pytest.mark.parametrize("task", ["disabled", "completed"])
def test_a_verified_deposit_without_a_due_task_is_repaired(
    deposit_server: DepositServer, config: Config, verified: int, task: str
) -> None:
    """As the original leaves it, if the scheduler is down after it saved the deposit."""
    deposit_server.end_task(verified, task)

    entry = run(config, verified)["deposits"][str(verified)]

    assert (entry["outcome"], entry["before"]) == ("rescheduled", "verified")
    assert entry["comment"].endswith(f"it was {task})")
    assert is_due(deposit_server.task(verified))


def test_the_original_strands_a_deposit_and_this_repairs_it(
    deposit_server: DepositServer, config: Config, failed: int
) -> None:
    arguments = ["deposit", "admin", "--platform", "production", "deposit", "reschedule", "--deposit-id", str(failed)]
    unreachable = {"scheduler": {"cls": "postgresql", "db": "host=127.0.0.1 port=1 dbname=none"}}
    path = deposit_server.write_configuration(deposit_server.directory / "unreachable.yml", **unreachable)

    with pytest.raises(RuntimeError):
        deposit_server.run("swh", *arguments, environment={"SWH_CONFIG_FILENAME": str(path)})
    assert deposit_server.deposit(failed)["status"] == "verified"
    assert not is_due(deposit_server.task(failed))

    assert run(config, failed)["summary"] == {"rescheduled": 1}
    assert is_due(deposit_server.task(failed))


def test_a_scheduler_that_is_down_leaves_the_deposit_as_it_was(
    deposit_server: DepositServer, config: Config, failed: int
) -> None:
    before = deposit_server.deposit(failed)

    with deposit_server.scheduler_down(), pytest.raises(KingfisherError) as error:
        run(config, failed)

    assert f"the scheduler at {deposit_server.scheduler_url} does not answer" in str(error.value)
    assert "\n" not in str(error.value)
    assert deposit_server.deposit(failed) == before


def test_a_scheduler_that_goes_down_in_between_leaves_the_deposit_as_it_was(
    deposit_server: DepositServer, config: Config, failed: int
) -> None:
    """It answered at first, and is down when the task is to be made due: the deposit waits for its row meanwhile."""
    before = deposit_server.deposit(failed)
    with ThreadPoolExecutor(1) as pool, deposit_server_down_later(deposit_server, failed) as stop_scheduler:
        future = pool.submit(run, config, failed)
        stop_scheduler()
        result = future.result()

    assert result["summary"] == {"failed": 1}
    assert "does not answer" in result["failed"][str(failed)]
    assert deposit_server.deposit(failed) == before
    assert run(config, failed)["summary"] == {"rescheduled": 1}


def test_what_was_dropped_is_returned_if_the_scheduler_goes_down_later(
    deposit_server: DepositServer, config: Config, password: str, verified: int
) -> None:
    deposit_server.load(verified, "done")
    others = [deposit_server.upload("rescheduler", password) for _ in range(2)]
    for number in others:
        deposit_server.check(number)
        deposit_server.load(number, "failed")
    with ThreadPoolExecutor(1) as pool, deposit_server_down_later(deposit_server, others[0]) as stop_scheduler:
        future = pool.submit(run, config, verified, *others)
        stop_scheduler()
        result = future.result()

    assert result["summary"] == {"failed": 2, "rescheduled": 1}
    assert {key: result["deposits"][str(verified)][key] for key in LOADED} == LOADED
    assert result["failed"][str(others[0])].startswith(f"deposit {others[0]}: the scheduler at ")
    assert result["failed"][str(others[1])].startswith(f"deposit {others[1]} was not tried: the scheduler at ")
    assert deposit_server.deposit(others[1])["status"] == "failed"


def test_no_other_is_tried_after_the_time(
    deposit_server: DepositServer, failed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first takes longer, since another session holds it: the program ends by itself, and is not stopped."""
    monkeypatch.setattr(reschedule, "_EACH", 0)
    config = deposit_config.load({**deposit_server.pillar, "timeout": 0.1, "lock_timeout": 0.5}, {})
    with row_locked(deposit_server, failed):
        result = run(config, failed, 123456789)

    assert result["summary"] == {"failed": 2}
    assert "another session holds it" in result["failed"][str(failed)]
    assert result["failed"]["123456789"] == (
        "deposit 123456789 was not tried: those before it took longer than 0.1 s: run this again"
    )


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:wrong"])
def test_a_scheduler_that_does_not_answer_is_named_without_its_credentials(
    deposit_server: DepositServer, failed: int, address: str
) -> None:
    config = with_credentials(deposit_server, f"http://someone:p@ss-w0rd@{address}/")
    with pytest.raises(KingfisherError) as error:
        run(config, failed)
    assert f"the scheduler at http://{address}/ does not answer" in str(error.value)
    assert not re.search("someone|p@ss|w0rd", str(error.value))


def test_a_scheduler_that_answers_is_named_without_its_credentials(deposit_server: DepositServer, failed: int) -> None:
    config = with_credentials(
        deposit_server, deposit_server.scheduler_url.replace("http://", "http://someone:p@ss-w0rd@")
    )
    deposit_server.set_status(failed, "failed", load_task_id="987654321")

    assert f"the scheduler at {deposit_server.scheduler_url} has no task" in run(config, failed)["failed"][str(failed)]


def with_credentials(deposit_server: DepositServer, url: str) -> Config:
    path = deposit_server.directory / "credentials.yml"
    deposit_server.write_configuration(path, scheduler={"cls": "remote", "url": url})
    return deposit_config.load({**deposit_server.pillar, "configuration_file": str(path)}, {})


@contextmanager
def deposit_server_down_later(deposit_server: DepositServer, number: int) -> Iterator[Callable[[], None]]:
    """Hold a deposit's row until somebody waits for it, and let go of it once the scheduler is down."""
    connection = deposit_server.connect()
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM deposit WHERE id = %s FOR UPDATE", (number,))

    def stop_scheduler() -> None:
        wait_for_waiter(deposit_server)
        deposit_server.scheduler.stop()
        connection.rollback()

    try:
        yield stop_scheduler
    finally:
        connection.close()
        deposit_server.scheduler.stop()
        deposit_server.start_scheduler()


def wait_for_waiter(deposit_server: DepositServer, count: int = 1) -> None:
    """Return once so many sessions wait for a lock in the deposit's database."""
    query = (
        "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    deadline = time.monotonic() + 30
    while deposit_server.query(query)[0]["n"] < count:
        assert time.monotonic() < deadline, "nobody waits for a lock"
        time.sleep(0.05)


def test_a_kill_before_the_end_leaves_the_deposit_as_it_was(
    deposit_server: DepositServer, config: Config, failed: int
) -> None:
    """Killed, all of it, while it waits for the row: what the kernel does to a server that loses power."""
    before = deposit_server.deposit(failed), deposit_server.task(failed)
    code = (
        "import sys; sys.path.insert(0, '_utils')\n"
        "from kingfisher_salt.deposit import config, reschedule, server_file\n"
        f"c = config.load({deposit_server.pillar!r}, {{}})\n"
        f"reschedule.reschedule(c, server_file.read(c), ids=[{failed}])\n"
    )
    with row_locked(deposit_server, failed):
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
        wait_for_waiter(deposit_server)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
        process.wait()
        for child in children:
            os.kill(int(child), signal.SIGKILL)
    assert children
    assert (deposit_server.deposit(failed), deposit_server.task(failed)) == before
    assert run(config, failed)["summary"] == {"rescheduled": 1}


def test_a_kill_between_the_scheduler_and_the_end_strands_nothing(
    deposit_server: DepositServer, config: Config, failed: int
) -> None:
    """The task is due and the deposit is not reset yet, which is set by SQL: running it again finishes."""
    deposit_server.query(
        "UPDATE task SET status = 'next_run_not_scheduled', next_run = now() WHERE id = %s",
        deposit_server.task(failed)["id"],
        database=deposit_server.scheduler_database,
    )

    assert run(config, failed)["summary"] == {"rescheduled": 1}
    assert deposit_server.deposit(failed)["status"] == "verified"
    assert is_due(deposit_server.task(failed))


def test_two_at_once_reschedule_once(deposit_server: DepositServer, config: Config, failed: int) -> None:
    with ThreadPoolExecutor(2) as pool:
        with row_locked(deposit_server, failed):
            futures = [pool.submit(run, config, failed) for _ in range(2)]
            wait_for_waiter(deposit_server, 2)
        outcomes = sorted(future.result()["deposits"][str(failed)]["outcome"] for future in futures)

    assert outcomes == ["already_scheduled", "rescheduled"]
    assert is_due(deposit_server.task(failed))


def test_a_row_that_another_holds_is_not_waited_for_for_ever(deposit_server: DepositServer, failed: int) -> None:
    config = deposit_config.load({**deposit_server.pillar, "lock_timeout": 0.2}, {})
    with row_locked(deposit_server, failed):
        result = run(config, failed)

    assert result["summary"] == {"failed": 1}
    assert "another session holds it" in result["failed"][str(failed)]


@pytest.mark.parametrize("status", ["partial", "expired", "deposited", "rejected", "loading"])
def test_other_statuses_are_refused(
    deposit_server: DepositServer, config: Config, password: str, tmp_path: Path, status: str
) -> None:
    number = made(deposit_server, password, tmp_path, status)
    before = deposit_server.deposit(number)

    entry = run(config, number)["deposits"][str(number)]

    assert entry["outcome"] == "refused"
    assert f"deposit {number} is {status}, and only those that are failed or done are rescheduled" in entry["comment"]
    assert deposit_server.deposit(number) == before


def made(deposit_server: DepositServer, password: str, tmp_path: Path, status: str) -> int:
    """Return a deposit in a status, by the real state machine unless a loader would be needed."""
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"no archive")
    archive = broken if status == "rejected" else None
    number = deposit_server.upload("rescheduler", password, *(["--partial"] * (status == "partial")), archive=archive)
    if status not in ("partial", "deposited"):
        deposit_server.check(number)
    if status in BY_SQL:
        deposit_server.set_status(number, status)
    assert deposit_server.deposit(number)["status"] == status
    return number


def test_each_of_several_is_told_apart(
    deposit_server: DepositServer, config: Config, password: str, failed: int
) -> None:
    waiting = deposit_server.upload("rescheduler", password)
    without = deposit_server.upload("rescheduler", password)
    deposit_server.set_status(without, "failed")  # it never had a loading task
    forgotten = deposit_server.upload("rescheduler", password)
    deposit_server.set_status(forgotten, "failed", load_task_id="987654321")

    result = run(config, failed, waiting, without, forgotten, 123456789)

    assert {int(k): v["outcome"] for k, v in result["deposits"].items()} == {
        failed: "rescheduled",
        waiting: "refused",
        without: "no_task",
        forgotten: "no_task",
        123456789: "unknown",
    }
    assert set(result["failed"]) == {str(n) for n in (waiting, without, forgotten, 123456789)}
    assert "has no loading task" in result["failed"][str(without)]
    assert "has no task 987654321" in result["failed"][str(forgotten)]
    assert "there is no deposit 123456789" in result["failed"]["123456789"]
    assert deposit_server.deposit(forgotten)["status"] == "failed"


def test_all_that_failed_since_a_time(deposit_server: DepositServer, config: Config, failed: int) -> None:
    now = datetime.now(tz=timezone.utc)
    deposit_server.query("UPDATE deposit SET status = 'rejected' WHERE status = 'failed' AND id <> %s", failed)
    server = server_file.read(config)

    def chosen(since: datetime) -> list[str]:
        found = reschedule.reschedule(config, server, ids=None, status="failed", since=since, dry_run=True)
        return list(found["deposits"])

    assert chosen(now - timedelta(hours=1)) == [str(failed)]
    assert chosen(now + timedelta(hours=1)) == []


def test_all_that_are_done_need_a_time(config: Config) -> None:
    with pytest.raises(KingfisherError, match="argument since is not set"):
        reschedule.reschedule(config, server_file.read(config), ids=None, status="done")


# What overstays


@pytest.fixture
def server(config: Config) -> Server:
    return server_file.read(config)


def aged(deposit_server: DepositServer, number: int, hours: int = 1000) -> None:
    deposit_server.query(
        "UPDATE deposit SET reception_date = now() - %s, complete_date = complete_date - %s WHERE id = %s",
        timedelta(hours=hours),
        timedelta(hours=hours),
        number,
    )


def stuck_entry(config: Config, number: int) -> dict[str, Any] | None:
    found = deposits.stuck(config, server_file.read(config))["deposits"]
    return next((entry for entry in found if entry["id"] == number), None)


@pytest.mark.parametrize(
    ("status", "next_step"),
    [("partial", "has not completed it"), ("deposited", "look at the checker's worker")],
)
def test_what_waits_for_a_client_or_the_checker_overstays(
    deposit_server: DepositServer, config: Config, password: str, tmp_path: Path, status: str, next_step: str
) -> None:
    number = made(deposit_server, password, tmp_path, status)
    assert stuck_entry(config, number) is None
    aged(deposit_server, number)

    entry = stuck_entry(config, number)

    assert entry is not None
    assert (entry["status"], entry["hours"] > 900) == (status, True)
    assert next_step in entry["next"]


def test_a_verified_deposit_whose_task_is_not_due_comes_with_the_cure(
    deposit_server: DepositServer, config: Config, verified: int
) -> None:
    aged(deposit_server, verified)
    deposit_server.end_task(verified, "disabled")

    entry = stuck_entry(config, verified)

    assert entry is not None
    assert entry["next"] == f"its loading task is disabled: deposit.reschedule {verified}"


def test_an_old_deposit_that_was_just_rescheduled_does_not_overstay(
    deposit_server: DepositServer, config: Config, failed: int
) -> None:
    aged(deposit_server, failed)
    run(config, failed)

    assert stuck_entry(config, failed) is None


def test_what_overstays_is_told_without_the_scheduler_too(
    deposit_server: DepositServer, config: Config, verified: int
) -> None:
    aged(deposit_server, verified)
    with deposit_server.scheduler_down():
        found = deposits.stuck(config, server_file.read(config))

    assert verified in [entry["id"] for entry in found["deposits"]]
    assert "does not answer" in found["notes"][0]


def test_a_listing_by_status_client_and_age(deposit_server: DepositServer, server: Server, failed: int) -> None:
    aged(deposit_server, failed, 100)

    found = deposits.listing(server, status="failed", client="rescheduler", older_than=99)

    assert failed in [row["id"] for row in found]
    assert deposits.listing(server, status="done", client="rescheduler", older_than=99_000) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"status": "faild"}, "argument status: 'faild' is no status: did you mean failed?"),
        ({"client": "reschedular"}, "argument client: there is no client reschedular: did you mean rescheduler?"),
    ],
)
@pytest.mark.usefixtures("failed")
def test_a_listing_tells_the_nearest_name(server: Server, options: dict[str, str], message: str) -> None:
    with pytest.raises(KingfisherError) as error:
        deposits.listing(server, **options)
    assert str(error.value) == message


def test_an_unknown_deposit_is_told_with_the_last_one(server: Server, failed: int) -> None:
    with pytest.raises(KingfisherError, match="there is no deposit 123456789: the last one is"):
        deposits.status(server, 123456789)
    assert deposits.status(server, failed)["status"] == "failed"
