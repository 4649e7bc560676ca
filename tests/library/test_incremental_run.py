"""A run of an incremental crawl, by the script that cron calls, with a real Scrapy project and PostgreSQL."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import textwrap
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from kingfisher_salt.incremental import by_hand, checkout, status

from tests.incremental_host import CRON_ENVIRONMENT, Host, wait_until
from tests.services.postgresql import PostgreSQL

FREEDONIA = {"identifier": "FREEDONIA", "spider": "freedonia_api", "crawl_time": "2025-05-06"}
BORDURIA = {"identifier": "BORDURIA", "spider": "borduria_api", "crawl_time": "2025-05-06"}

# A stand-in for ocdscardinal, which does with its arguments what the real one does.
CARDINAL = """\
#!/usr/bin/python3
import json, os, sys

command, *arguments = sys.argv[1:]
options = dict(zip(arguments[:-1:2], arguments[1::2])) if command == "prepare" else {}
assert os.path.exists(arguments[arguments.index("-s") + 1])
releases = [json.loads(line) for line in open(arguments[-1])]
fail = os.environ.get("CARDINAL_FAILS")
if command == fail:
    sys.exit("thread 'main' panicked")
if command == "prepare":
    with open(options["-o"], "w") as file:
        for release in releases:
            file.write(json.dumps(release | {"prepared": True}) + "\\n")
    with open(options["-e"], "w") as file:
        file.write("1,ocid,/buyer/id,,not set\\n" if fail == "data" else "")
else:
    assert "--map" in arguments
    ocids = [release["ocid"] for release in releases]
    json.dump(
        {
            "OCID": {ocids[0]: {"R036": 1.0}},
            "Buyer": {"B\\t1": {"R038": 0.5}},
            "Tenderer": {"T1": {"R024": 0.25}, "T2": {"R025": 0.75}},
            "Maps": {
                "ocid_buyer_r038": {ocids[0]: "B\\t1"},
                "ocid_tenderer_r024": {ocids[1]: ["T1"]},
                "ocid_tenderer": {ocids[0]: ["T1", "T2"], ocids[-1]: ["T2"]},
            },
        },
        sys.stdout,
    )
"""


@pytest.fixture
def host(tmp_path: Path, postgresql: PostgreSQL) -> Host:
    return Host(tmp_path, postgresql)


@pytest.fixture
def cardinal(host: Host) -> Path:
    """Have a crawl with Cardinal, and return its program."""
    binary = host.directory / "ocdscardinal"
    binary.write_text(CARDINAL)
    binary.chmod(0o755)
    (host.directory / "freedonia_api.ini").write_text("[R024]\n")
    host.crawls = [{**FREEDONIA, "cardinal": True}]
    host.more["cardinal"] = {"binary": str(binary), "settings_directory": str(host.directory)}
    return binary


def apply(host: Host, crawl: dict[str, Any] = FREEDONIA, **settings: Any) -> None:
    host.crawls = [{**crawl, "settings": settings}]
    host.apply()


def rows(host: Host, table: str = "freedonia_api") -> int:
    return int(host.query(f"SELECT count(*) FROM {table}")[0][0])


def test_a_run_that_succeeds_stores_and_prints_nothing(host: Host) -> None:
    apply(host)
    ended = host.run("FREEDONIA")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert rows(host) == 4
    last = host.last("FREEDONIA")
    assert last["result"] == "success"
    assert last["rows"] == 4
    now = datetime.now()  # noqa: DTZ005
    assert last["log"] == str(host.home / "logs" / "freedonia_api" / f"{now:%Y}" / f"{now:%Y-%m-%d}.log")
    assert (host.home / "data" / "freedonia_api" / "20250506_000000" / "0A1" / "page-1.json").exists()


def test_the_line_of_the_schedule_runs_the_script(host: Host) -> None:
    apply(host)
    line = next(line for line in host.cron_file.read_text().splitlines() if line[:1].isdigit())
    command = line.split(maxsplit=6)[6]
    # crontab(5): an unescaped percent sign ends the command. cron takes the backslash away.
    assert not re.search(r"(?<!\\)%", command)
    subprocess.run(["/bin/sh", "-c", command.replace("\\%", "%")], env=CRON_ENVIRONMENT, check=True, timeout=60)
    assert rows(host) == 4


def test_each_run_has_a_log_of_its_own(host: Host) -> None:
    apply(host)
    for _ in range(2):
        assert host.run("FREEDONIA").returncode == 0
    logs = list((host.home / "logs" / "freedonia_api").rglob("*.log"))
    assert len(logs) == 2
    assert all(log.read_text().count("Spider opened") == 1 for log in logs)


def test_a_second_run_adds_to_the_first(host: Host) -> None:
    apply(host)
    assert host.run("FREEDONIA").returncode == 0
    apply(host, PAGE_FIRST=3)
    assert host.run("FREEDONIA").returncode == 0
    assert rows(host) == 8
    assert host.last("FREEDONIA")["rows_before"] == 4


def test_arguments_and_settings_arrive_as_they_were_written(host: Host) -> None:
    nasty = '50% "of" it\'s $HOME `id` \\ é'
    quoted = "'" + nasty.replace("'", "'\\''") + "'"
    host.crawls = [{**FREEDONIA, "spider_arguments": f"-a qs:q={quoted}", "settings": {"USER_AGENT": nasty}}]
    host.apply()
    assert host.run("FREEDONIA").returncode == 0
    log = Path(host.last("FREEDONIA")["log"]).read_text()
    assert repr(nasty) in next(line for line in log.splitlines() if "Spider arguments" in line)
    assert f"'USER_AGENT': {nasty!r}" in log


def test_no_secret_is_in_arguments_or_readable_files(host: Host) -> None:
    host.more["env"] = {"RABBIT_URL": "amqp://user:rabbit-secret@localhost"}
    gate = host.directory / "gate"
    apply(host, WAIT_FOR=str(gate))
    running = host.start("FREEDONIA")
    wait_until(lambda: host.last("FREEDONIA").get("phase") == "crawling")
    shown = subprocess.run(["ps", "-wweo", "args"], capture_output=True, text=True).stdout
    environments = [
        Path(f"/proc/{pid}/environ").read_bytes()
        for pid in subprocess.run(["pgrep", "-P", str(running.pid)], capture_output=True, text=True).stdout.split()
    ]
    gate.touch()
    assert running.wait(30) == 0
    assert f"crawl_time=2025-05-06T00:00:00 -s WAIT_FOR={gate}" in shown
    assert environments
    assert all(b"rabbit-secret" in environment for environment in environments)
    for secret in (host.postgresql.password, "rabbit-secret"):
        assert secret not in shown
        for name, (mode, content) in host.files().items():
            if secret.encode() in content:
                assert name.endswith("/environment")
                assert stat.S_IMODE(mode) == 0o600


def test_a_run_is_never_doubled(host: Host) -> None:
    gate = host.directory / "gate"
    apply(host, WAIT_FOR=str(gate))
    first = host.start("FREEDONIA")
    wait_until(lambda: host.last("FREEDONIA").get("phase") == "crawling")
    second = host.run("FREEDONIA")
    assert second.returncode == os.EX_TEMPFAIL
    assert second.stderr.startswith("FREEDONIA is still running, as process ")
    assert len(second.stderr.splitlines()) == 1
    gate.touch()
    assert first.wait(30) == 0
    assert rows(host) == 4
    assert len(list((host.home / "logs").rglob("*.log"))) == 1


def test_a_run_whose_starter_was_killed_is_not_doubled_either(host: Host) -> None:
    gate = host.directory / "gate"
    apply(host, WAIT_FOR=str(gate))
    first = host.start("FREEDONIA")
    wait_until(lambda: (host.last("FREEDONIA").get("pages") or rows_or_none(host)) is not None)
    first.kill()
    first.wait()
    assert host.run("FREEDONIA").returncode == os.EX_TEMPFAIL
    config, _ = checkout.load_and_check(host.pillar)
    crawl = status.status(config)["FREEDONIA"]["pid"]
    assert b"freedonia_api" in Path(f"/proc/{crawl}/cmdline").read_bytes()  # what there is to end is told
    gate.touch()
    wait_until(lambda: host.run("FREEDONIA", "--dry-run").stdout.find("would run") > 0)
    assert status.status(config)["FREEDONIA"]["result"] == "interrupted"
    assert host.run("FREEDONIA").returncode == 0


def rows_or_none(host: Host) -> int | None:
    """Return how many rows there are. None, before the crawl makes the table."""
    return rows(host) if "freedonia_api" in host.tables() else None


@pytest.mark.parametrize("lack", ["missing", "empty"])
def test_a_run_that_would_lose_rows_is_refused(host: Host, lack: str) -> None:
    apply(host)
    assert host.run("FREEDONIA").returncode == 0
    crawl = host.home / "data" / "freedonia_api" / "20250506_000000"
    crawl.rename(crawl.with_name("elsewhere"))
    if lack == "empty":
        (crawl / "0A1").mkdir(parents=True)
    ended = host.run("FREEDONIA")
    assert ended.returncode == 1
    assert f"FREEDONIA: the crawl directory {crawl} is {lack}, and the table freedonia_api has 4 rows" in ended.stderr
    assert rows(host) == 4
    assert host.last("FREEDONIA")["result"] == "refused"


def test_a_changed_crawl_time_is_refused_and_says_where_the_data_is(host: Host) -> None:
    apply(host)
    assert host.run("FREEDONIA").returncode == 0
    apply(host, {**FREEDONIA, "crawl_time": "2025-05-07"})
    ended = host.run("FREEDONIA")
    assert ended.returncode == 1
    assert "there is data in 20250506_000000, so compare crawl_time" in ended.stderr
    assert rows(host) == 4


def test_dropped_rows_are_an_alarm_once(host: Host) -> None:
    apply(host)
    assert host.run("FREEDONIA").returncode == 0
    apply(host, DROP_ROWS=3)
    ended = host.run("FREEDONIA")
    assert ended.returncode == 1
    assert "the table freedonia_api had 4 rows, and has 1 now" in ended.stderr
    assert host.last("FREEDONIA")["result"] == "alarm"
    assert host.run("FREEDONIA").returncode == 0


def test_a_crawl_that_is_not_finished_fails(host: Host) -> None:
    apply(host, BORDURIA)
    ended = host.run("BORDURIA")
    assert ended.returncode == 1
    assert "BORDURIA: the crawl ended with the reason publisher_failed, and not finished: see " in ended.stderr
    assert host.last("BORDURIA")["finish_reason"] == "publisher_failed"
    assert rows(host, "borduria_api") == 0


def test_a_crawl_whose_table_was_not_stored_fails_though_scrapy_says_finished(host: Host) -> None:
    apply(host, BREAK_STORE=True)
    ended = host.run("FREEDONIA")
    assert ended.returncode == 1
    assert "its table freedonia_api was not stored anew" in ended.stderr
    assert host.last("FREEDONIA")["finish_reason"] == "finished"


def test_a_spider_that_cannot_start_fails(host: Host) -> None:
    apply(host, SPIDER_MODULES="nowhere")
    ended = host.run("FREEDONIA")
    assert ended.returncode == 1
    assert "the crawl ended with exit code 1, and not finished: see " in ended.stderr
    assert "nowhere" in Path(host.last("FREEDONIA")["log"]).read_text()


def test_a_polite_end_is_passed_on_to_the_crawl(host: Host) -> None:
    apply(host, WAIT_FOR=str(host.directory / "gate"))
    running = host.start("FREEDONIA")
    wait_until(lambda: host.last("FREEDONIA").get("log") and rows_or_none(host) is not None)
    running.send_signal(signal.SIGTERM)
    (host.directory / "gate").touch()
    said, _ = running.communicate(timeout=30)
    assert running.returncode == 1
    assert "the crawl ended with the reason shutdown" in said


def test_a_database_that_is_down_is_one_sentence(host: Host) -> None:
    apply(host)
    host.more["database"] = {**host.pillar["database"], "port": 1}
    host.apply()
    ended = host.run("FREEDONIA")
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert "FREEDONIA: the database postgresql://kingfisher@127.0.0.1:1/" in ended.stderr
    assert not list((host.home / "logs").rglob("*.log"))


def test_a_dry_run_tells_and_writes_nothing(host: Host) -> None:
    apply(host)
    before = host.files()
    config, _ = checkout.load_and_check(host.pillar)
    said = by_hand.dry_run(config, "FREEDONIA")
    assert said["result"] == "would run"
    assert said["rows"] is None
    assert "crawl freedonia_api" in said["command"]
    assert host.files() == before
    assert host.tables() == set()


def test_a_run_by_hand_goes_on_by_itself_and_tells_how_far_it_is(host: Host) -> None:
    gate = host.directory / "gate"
    apply(host, WAIT_FOR=str(gate))
    config, _ = checkout.load_and_check(host.pillar)
    started = by_hand.start(config, "FREEDONIA")
    assert started["phase"] == "crawling"
    assert os.getsid(started["pid"]) == started["pid"]
    wait_until(lambda: status.status(config)["FREEDONIA"].get("items"))
    told = status.status(config, "FREEDONIA")["FREEDONIA"]
    assert {name: told[name] for name in ("result", "phase", "items", "overdue", "pid")} == {
        "result": "running",
        "phase": "crawling",
        "items": 1,
        "overdue": False,
        "pid": started["pid"],
    }
    with pytest.raises(Exception, match="FREEDONIA is still running, as process"):
        by_hand.start(config, "FREEDONIA")
    gate.touch()
    wait_until(lambda: status.status(config)["FREEDONIA"]["result"] == "success")
    assert status.status(config)["FREEDONIA"]["rows"] == 4


def test_users_can_read_the_table_after_each_run(host: Host) -> None:
    user = host.role()
    host.crawls = [{**FREEDONIA, "users": [user]}]
    host.apply()
    for _ in range(2):
        assert host.run("FREEDONIA").returncode == 0
        assert host.query("SELECT count(*) FROM freedonia_api", user=user, password="secret") == [(4,)]
    assert host.plan().crawls == {}


@pytest.mark.usefixtures("cardinal")
def test_cardinal_makes_two_tables(host: Host) -> None:
    user = host.role()
    host.crawls[0]["users"] = [user]
    host.apply()
    assert host.run("FREEDONIA").stderr == ""
    assert host.query("SELECT count(*) FROM freedonia_api_clean WHERE data->>'prepared' = 'true'") == [(4,)]
    assert host.query("SELECT data->>'note' FROM freedonia_api_clean LIMIT 1") == [
        ("100 % \"quoted\", 'quoted', \\ and é\n",)
    ]
    flags = (
        "SELECT subject, ocid, code, result::float, buyer_id, tenderer_id FROM freedonia_api_result ORDER BY 1, 2, 3"
    )
    assert host.query(flags, user=user, password="secret") == [
        ("Buyer", "ocds-000000-1-0", "R038", 0.5, "B\t1", None),
        ("OCID", "ocds-000000-1-0", "R036", 1.0, None, None),
        ("Tenderer", "ocds-000000-1-0", "R025", 0.75, None, "T2"),
        ("Tenderer", "ocds-000000-1-1", "R024", 0.25, None, "T1"),
        ("Tenderer", "ocds-000000-2-1", "R025", 0.75, None, "T2"),
    ]
    assert host.last("FREEDONIA")["flags"] == 5
    assert not (host.home / "runs" / "FREEDONIA" / "cardinal").exists()


@pytest.mark.usefixtures("cardinal")
def test_cardinal_keeps_flags_that_were_raised(host: Host) -> None:
    host.apply()
    assert host.run("FREEDONIA").returncode == 0
    raised = host.query("SELECT id, created_at FROM freedonia_api_result ORDER BY id")
    host.crawls[0]["settings"] = {"PAGE_FIRST": 3}
    host.apply()
    assert host.run("FREEDONIA").returncode == 0
    assert host.query("SELECT id, created_at FROM freedonia_api_result ORDER BY id LIMIT 5") == raised
    assert host.last("FREEDONIA")["flags"] == 1  # that of the last contracting process


def test_cardinal_that_is_missing_is_found_before_the_crawl(host: Host, cardinal: Path) -> None:
    host.apply()
    cardinal.unlink()
    ended = host.run("FREEDONIA")
    assert ended.returncode == 1
    assert f"FREEDONIA: Cardinal's program {cardinal} is missing: install it" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert host.tables() == set()


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ("prepare", "ocdscardinal prepare failed, with exit code 1: thread 'main' panicked"),
        ("indicators", "ocdscardinal indicators failed, with exit code 1: thread 'main' panicked"),
        ("data", "ocdscardinal prepare found errors in the data"),
    ],
)
def test_cardinal_that_fails_leaves_no_table(host: Host, cardinal: Path, fails: str, said: str) -> None:
    cardinal.write_text(cardinal.read_text().replace('os.environ.get("CARDINAL_FAILS")', repr(fails)))
    host.apply()
    ended = host.run("FREEDONIA")
    assert ended.returncode == 1
    assert said in ended.stderr
    assert host.tables() == {"freedonia_api"}
    assert (host.home / "runs" / "FREEDONIA" / "cardinal" / "data.jsonl").exists()


@pytest.mark.usefixtures("cardinal")
def test_cardinal_that_cannot_write_leaves_the_tables_as_they_were(host: Host) -> None:
    host.apply()
    assert host.run("FREEDONIA").returncode == 0
    host.query("ALTER TABLE freedonia_api_result ADD CONSTRAINT full_up CHECK (id < 6)")
    before = host.query("SELECT pg_relation_filenode('freedonia_api_clean')")
    host.crawls[0]["settings"] = {"PAGE_FIRST": 3}
    host.apply()
    ended = host.run("FREEDONIA")
    assert ended.returncode == 1
    assert "full_up" in ended.stderr
    assert host.query("SELECT pg_relation_filenode('freedonia_api_clean')") == before


@pytest.mark.usefixtures("cardinal")
def test_cardinal_does_not_follow_a_crawl_that_failed(host: Host) -> None:
    host.crawls = [{**BORDURIA, "cardinal": True}]
    (host.directory / "borduria_api.ini").touch()
    host.apply()
    ended = host.run("BORDURIA")
    assert "and not finished" in ended.stderr
    assert host.tables() == {"borduria_api"}


def test_the_stand_in_project_is_like_kingfisher_collect(host: Host) -> None:
    """It drops its table, and creates it anew: rights are lost, and so is what is not in the crawl directory."""
    apply(host)
    user = host.role()
    assert host.run("FREEDONIA").returncode == 0
    host.query(f"GRANT SELECT ON freedonia_api TO {user}; INSERT INTO freedonia_api VALUES ('{{}}')")
    assert host.run("FREEDONIA").returncode == 1
    assert rows(host) == 4
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        host.query("SELECT FROM freedonia_api", user=user, password="secret")


def test_the_library_runs_without_salt(host: Host) -> None:
    apply(host)
    library = host.program_directory / "lib"
    code = textwrap.dedent("""
        import sys
        sys.modules["salt"] = None
        from kingfisher_salt.incremental import run
    """)
    subprocess.run(
        [host.pillar["virtualenv"] + "/bin/python", "-c", code], env={"PYTHONPATH": str(library)}, check=True
    )
