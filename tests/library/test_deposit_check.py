"""The end-to-end check of a deposit server, against a real server, the real checker and the real loader."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from kingfisher_salt.deposit import check
from kingfisher_salt.deposit.checks import archive, config, sword

from tests.services.deposit import DepositServer
from tests.services.files import write_private
from tests.services.ports import free_port

ROOT = Path(__file__).parents[2]
PROVIDER = "https://example.com"
# What the loader's worker does with its task. The archive that it loads into is in its memory, and goes with it.
LOAD = """
import json, sys
from swh.loader.package.deposit.loader import DepositLoader
json.dump(DepositLoader.from_configfile(url=sys.argv[1], deposit_id=sys.argv[2]).load(), sys.stdout)
"""


class Site:
    """A test client of a server, and the workers that take its deposits."""

    def __init__(self, server: DepositServer, directory: Path):
        self.server = server
        self.username = f"check-{uuid.uuid4().hex[:8]}"
        self.password = f'it\'s "{uuid.uuid4().hex}" %é'
        server.create_client(self.username, self.password)
        self.loader_config_file = write_private(
            directory / "loader.yml",
            yaml.safe_dump({
                "deposit": {"url": f"{server.url}/private/", "auth": None},
                "storage": {"cls": "memory"},
            }),
        )  # fmt: skip
        self.pillar: dict[str, Any] = {
            **server.pillar,
            "clients": {self.username: {"password": self.password, "provider_url": f"{PROVIDER}/"}},
            "check": {"username": self.username, "poll_interval": 0.1, "warning": 60, "critical": 120, "timeout": 20},
        }

    @property
    def origin_url(self) -> str:
        return f"{PROVIDER}/{config.SLUG}"

    def run(self, name: str = check.END_TO_END, **arguments: Any) -> tuple[int, str]:
        report = check.run(name, self.pillar, arguments)
        assert self.password not in report.line
        assert "\n" not in report.line
        return int(report.state), report.line

    def deposits(self) -> list[dict[str, Any]]:
        return self.server.query(
            "SELECT d.* FROM deposit d JOIN auth_user u ON u.id = d.client_id WHERE username = %s ORDER BY d.id",
            self.username,
        )

    def statuses(self) -> list[str]:
        return [row["status"] for row in self.deposits()]

    def load(self, identifier: int) -> None:
        environment = {"SWH_CONFIG_FILENAME": str(self.loader_config_file)}
        self.server.run("python", "-c", LOAD, self.origin_url, str(identifier), environment=environment)

    def check_and_load(self, identifier: int) -> None:
        self.server.check(identifier)
        self.load(identifier)

    @contextlib.contextmanager
    def worker(self, work: Callable[[int], object]) -> Iterator[None]:
        """Do something with the first deposit that comes, as a worker would."""
        seen, ended = {row["id"] for row in self.deposits()}, threading.Event()
        failed: list[BaseException] = []

        def wait() -> None:
            try:
                while not ended.wait(0.05):
                    for row in self.deposits():
                        if row["id"] not in seen and row["status"] == "deposited" and row["check_task_id"]:
                            work(row["id"])
                            return
            except BaseException as e:  # noqa: BLE001
                failed.append(e)

        thread = threading.Thread(target=wait)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        assert failed == []


@pytest.fixture
def site(deposit_server: DepositServer, tmp_path: Path) -> Site:
    return Site(deposit_server, tmp_path)


def performance(line: str) -> dict[str, str]:
    return dict(re.findall(r"'([^']+)'=(\S+)", line.partition(" | ")[2]))


def test_a_deposit_is_followed_into_the_archive(site: Site) -> None:
    with site.worker(site.check_and_load):
        code, line = site.run()
    [row] = site.deposits()
    assert (code, row["status"], row["origin_url"]) == (0, "done", site.origin_url)
    assert row["swhid"].startswith("swh:1:dir:")
    assert line.startswith(f"DEPOSIT OK - deposit {row['id']} is done after ")
    assert performance(line)["total"].endswith("s;60;120;0")
    assert {"total", "upload", "deposited"} <= set(performance(line))


def test_many_checks_are_one_release_of_one_origin(site: Site) -> None:
    for _ in range(2):
        with site.worker(site.check_and_load):
            assert site.run()[0] == 0
    first, second = site.deposits()
    assert first["swhid"] != second["swhid"]
    assert second["parent_id"] == first["id"]
    releases = requests.get(f"{site.server.url}/private/{second['id']}/releases/", timeout=10).json()
    assert [release["id"] for release in releases] == [second["id"]]


def test_the_slow_stage_is_named(site: Site) -> None:
    def slow(identifier: int) -> None:
        site.server.check(identifier)
        time.sleep(3)
        site.load(identifier)

    with site.worker(slow):
        code, line = site.run(warning=1)
    assert code == 1
    assert re.search(r"WARNING - deposit \d+ is done after \S+ s, \S+ s of it as (deposited|verified|loading) ", line)


def test_a_rejected_deposit_is_told_with_its_reason(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "archive", lambda _: b"no archive")
    with site.worker(site.server.check):
        code, line = site.run()
    [row] = site.deposits()
    assert (code, row["status"]) == (2, "rejected")
    assert f"deposit {row['id']} is rejected" in line
    assert "archive" in line.lower().partition(": ")[2]


def test_a_deposit_that_the_loader_fails_is_told(site: Site) -> None:
    # By SQL: the loader sets this status for faults of the archive that it loads into.
    with site.worker(lambda identifier: site.server.set_status(identifier, "failed")):
        code, line = site.run()
    [row] = site.deposits()
    assert code == 2
    assert f"deposit {row['id']} is failed" in line


@pytest.mark.parametrize(("status", "unit"), [("deposited", "checker"), ("verified", "loader"), ("loading", "loader")])
def test_a_stage_that_does_not_end_is_told_with_the_service_to_look_at(site: Site, status: str, unit: str) -> None:
    # By SQL: a worker that died leaves the status where it was.
    with site.worker(lambda identifier: site.server.set_status(identifier, status)):
        code, line = site.run(warning=1, critical=3)
    [row] = site.deposits()
    assert code == 2
    assert re.search(rf"deposit {row['id']} is still {status} after \S+ s: ", line)
    assert f"deposit-worker@{unit}" in line


def test_deposits_do_not_pile_up_while_no_worker_runs(site: Site) -> None:
    site.run(warning=1, critical=1)
    [row] = site.deposits()
    code, line = site.run(warning=1, critical=600, url="http://127.0.0.1:1/1")
    assert code == 2  # unreachable, so that nothing is followed
    with site.worker(site.check_and_load):
        thread = threading.Timer(1, site.check_and_load, [row["id"]])
        thread.start()
        code, line = site.run(warning=60, critical=120)
        thread.join()
    assert (code, site.statuses()) == (0, ["done"])
    assert f"deposit {row['id']} of an earlier check is done" in line


def test_a_deposit_that_was_lost_is_given_up(site: Site) -> None:
    site.run(warning=1, critical=1)
    [row] = site.deposits()
    site.server.set_status(row["id"], "deposited", reception_date=datetime.now(timezone.utc) - timedelta(hours=1))
    with site.worker(site.check_and_load):
        code, _ = site.run()
    assert (code, site.statuses()) == (0, ["deposited", "done"])


def test_what_a_killed_check_left_partial_is_deleted(site: Site) -> None:
    site.run(warning=1, critical=1)
    [row] = site.deposits()
    old = datetime.now(timezone.utc) - timedelta(minutes=11)
    site.server.set_status(row["id"], "partial", reception_date=old)
    with site.worker(site.check_and_load):
        assert site.run()[0] == 0
    assert site.statuses() == ["done"]


def test_a_partial_deposit_of_somebody_else_stays(site: Site) -> None:
    theirs = site.server.upload(site.username, site.password, "--partial")
    old = datetime.now(timezone.utc) - timedelta(days=1)
    site.server.set_status(theirs, "partial", reception_date=old)
    with site.worker(site.check_and_load):
        assert site.run()[0] == 0
    assert site.statuses() == ["partial", "done"]


def test_the_latest_deposits_are_found_among_many(site: Site) -> None:
    first = site.server.upload(site.username, site.password, "--partial")
    site.server.query(
        "INSERT INTO deposit (reception_date, status, client_id, collection_id, type, software_version, release_notes)"
        " SELECT reception_date, 'done', client_id, collection_id, type, '', ''"
        " FROM deposit, generate_series(1, 250) WHERE id = %s",
        first,
    )
    client = sword.Client(config.load(site.pillar, {}))
    assert [each.id for each in client.latest()][-100:] == [row["id"] for row in site.deposits()][-100:]


def test_a_server_that_is_down_is_critical(site: Site) -> None:
    code, line = site.run(url=f"http://127.0.0.1:{free_port()}/1")
    assert code == 2
    assert "upload failed" in line
    assert "Connection refused" in line
    assert "deposit.socket" in line


def test_a_scheduler_that_is_down_is_critical_and_what_is_left_is_named(site: Site) -> None:
    with site.server.scheduler_down():
        code, line = site.run(timeout=3)
    [row] = site.deposits()
    assert code == 2
    assert f"it left deposit {row['id']} deposited" in line


def test_a_wrong_password_is_critical(site: Site) -> None:
    site.pillar["check"]["password"] = "wrong"
    code, line = site.run()
    assert code == 2
    assert f"refuses client {site.username} (401" in line


def test_what_is_no_deposit_server_is_told(site: Site) -> None:
    code, line = site.run(url=site.server.scheduler_url.rstrip("/"))
    assert code == 2
    assert "upload failed" in line


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"username": None}, "deposit:check:username is not set"),
        ({"wanring": 1}, "deposit:check:wanring is not a setting: did you mean warning?"),
        ({"username": "other"}, "deposit:check:password is not set, nor is deposit:clients:other:password"),
        ({"warning": 200}, "deposit:check:warning must be no more than deposit:check:critical, 120"),
    ],
)
def test_settings_that_cannot_be_used_are_unknown(site: Site, change: dict[str, Any], text: str) -> None:
    site.pillar["check"] |= change
    code, line = site.run()
    assert code == 3
    assert text in line


# Without a deposit


def test_all_is_well(site: Site) -> None:
    site.pillar["stuck_hours"] = dict.fromkeys(("partial", "deposited", "verified", "loading"), 1000)
    code, line = site.run(check.HEALTH)
    assert (code, site.deposits()) == (0, []), line
    assert set(performance(line)) == {"server", "database", "migrations", "scheduler", "stuck"}
    assert performance(line)["stuck"] == "0;;;0"


def test_a_collection_that_is_closed_to_the_client_is_critical(site: Site) -> None:
    code, line = site.run(check.HEALTH, collection="other")
    assert code == 2
    assert f"may not deposit into collection other, but into {site.username}" in line


def test_each_part_that_is_down_is_told(site: Site, tmp_path: Path) -> None:
    broken = {"configuration_file": str(
        site.server.write_configuration(
            tmp_path / "server.yml",
            private=site.server.private(port=free_port()),
            scheduler={"cls": "remote", "url": f"http://127.0.0.1:{free_port()}/"},
        )
    )}  # fmt: skip
    site.pillar |= broken
    code, line = site.run(check.HEALTH)
    assert code == 2
    assert "database: the database " in line
    assert "scheduler: the scheduler at " in line
    assert "server: " not in line


def test_pending_migrations_are_a_warning(site: Site, tmp_path: Path) -> None:
    server = site.server
    name = server.create_database()
    path = server.write_configuration(tmp_path / "server.yml", private=server.private(name=name))
    server.migrate(config_file=path)
    # Of the same tables, an older version's record.
    connection = server.connect(name)
    with contextlib.closing(connection), connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'sessions'")
    site.pillar |= {"configuration_file": str(path)}
    code, line = site.run(check.HEALTH)
    assert code == 1, line
    assert "migrations: sessions.0001_initial pending: deposit.migrate" in line
    assert performance(line)["migrations"] == "1;;;0"


def test_stuck_deposits_are_a_warning(site: Site) -> None:
    stuck = site.server.upload(site.username, site.password, "--partial")
    site.server.set_status(stuck, "partial", reception_date=datetime.now(timezone.utc) - timedelta(days=4000))
    site.pillar["stuck_hours"] = dict.fromkeys(("partial", "deposited", "verified", "loading"), 80000)
    code, line = site.run(check.HEALTH)
    assert code == 1, line
    assert f"stuck: deposit {stuck} (partial for " in line


def test_a_configuration_file_that_is_not_there_is_unknown(site: Site, tmp_path: Path) -> None:
    site.pillar["configuration_file"] = str(tmp_path / "server.yml")
    code, line = site.run(check.HEALTH)
    assert code == 3
    assert "there is no file" in line


# The script


class Script:
    """The program as the wrapper calls it, in the server's own Python."""

    def __init__(self, site: Site, directory: Path):
        self.state = directory
        self.settings = write_private(directory / "check.json", json.dumps(site.pillar))
        self.python = site.server.binaries / "python"

    def __call__(self, *arguments: str) -> tuple[int, str]:
        command = [self.python, "-B", "-m", "kingfisher_salt.deposit.check", "--settings", self.settings]
        ended = subprocess.run(
            [*command, "--state", self.state, *arguments],
            env={"PYTHONPATH": str(ROOT / "_utils"), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in ended.stderr
        return ended.returncode, ended.stdout


@pytest.fixture
def script(site: Site, tmp_path: Path) -> Script:
    return Script(site, tmp_path)


def test_the_script_has_the_same_line_and_exit_code(site: Site, script: Script) -> None:
    with site.worker(site.check_and_load):
        code, line = script("end-to-end")
    assert (code, line.count("\n")) == (0, 1)
    assert line.startswith("DEPOSIT OK - ")


def test_what_was_recorded_is_told_until_it_is_stale(script: Script) -> None:
    assert script("last", "health")[0] == 3
    assert script("health", "--record", "--stale-after", "600") == (0, "")
    code, line = script("last", "health")
    assert code in (0, 1)  # deposits of other tests may be stuck
    assert line.startswith(f"DEPOSIT {'WARNING' if code else 'OK'} - ")
    path = script.state / "health.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"time": time.time() - 601}))
    code, line = script("last", "health")
    assert code == 3
    assert "does cron run" in line


def test_a_mistyped_command_is_unknown(script: Script) -> None:
    assert script("heatlh")[0] == 3


def test_no_secret_is_in_the_process_list(site: Site) -> None:
    seen: set[bytes] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_bytes())
                except OSError:
                    continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        site.run(check.HEALTH)
        site.run(warning=1, critical=1)
    finally:
        ended.set()
        thread.join()
    assert sys.executable.encode() in b"".join(seen)
    secrets = (site.password, site.server.password, site.server.secret_key)
    assert not [line for line in seen if any(secret.encode() in line for secret in secrets)]
