"""The archive through a real master and minion, as people type it."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.conftest import Installation, Registry
from tests.services.postgresql import PostgreSQL
from tests.services.seaweedfs import SeaweedFS

# Where a master keeps the pillar of a minion.
CACHE = re.compile(r"/cache/(pillar/registry|minions/registry/data)\.p$")
ARCHIVE = ["data.tar.lz4", "metadata.json", "scrapy.log"]


# what people type


def test_try_it_then_run_it(registry: Registry, installation: Installation, source: str) -> None:
    crawl = installation.make(source, "20240501_040506")
    code, printed = registry.run("salt", "registry", "kingfisher.archive", "dry_run=True")
    assert code == 0
    assert f"{source}/20240501_040506:" in printed
    assert re.search(r"decision:\n\s+archive\n", printed)
    assert installation.keys() == []
    assert crawl.directory.exists()

    code, result = registry.salt("kingfisher.archive")
    assert code == 0
    assert result["crawls"][crawl.id]["result"] == "archived"
    assert installation.keys() == [f"{source}/2024/05/{name}" for name in ARCHIVE]
    assert not crawl.directory.exists()


@pytest.mark.usefixtures("installation")
def test_a_wrong_argument_costs_one_line(registry: Registry) -> None:
    code, printed = registry.run("salt", "registry", "kingfisher.archive", "buket=x")
    assert code != 0
    assert "argument buket is not a setting: did you mean bucket?" in printed
    assert "Traceback" not in printed


def test_a_failure_gives_an_exit_code(registry: Registry, installation: Installation, source: str) -> None:
    bad = installation.make(source, "20240501_040506")
    (bad.directory / "link").symlink_to("/etc/passwd")
    code, result = registry.salt("kingfisher.archive", "min_age_days=0")
    assert code != 0
    assert list(result["failed"]) == [bad.id]


def test_progress_is_on_the_bus(registry: Registry, installation: Installation, source: str, events: Path) -> None:
    installation.make(source, "20240501_040506")
    registry.salt("kingfisher.archive")
    deadline = time.monotonic() + 30
    while not re.search(r"kingfisher/archive/\d+/end", events.read_text()):
        assert time.monotonic() < deadline, events.read_text()
        time.sleep(0.2)
    assert re.search(r"kingfisher/archive/\d+/start", events.read_text())


def test_the_documentation_reads_well(registry: Registry) -> None:
    code, printed = registry.run("salt", "registry", "sys.doc", "kingfisher")
    assert code == 0
    _, *parts = re.split(r"^(kingfisher\.\w+):$", printed, flags=re.MULTILINE)
    documentation = dict(zip(parts[::2], parts[1::2], strict=True))
    functions = ("archive", "archives", "coverage", "crawls", "prune", "restore", "verify")
    assert {f"kingfisher.{name}" for name in functions} <= set(documentation)
    for name, text in documentation.items():
        assert "CLI Example:" in text, name
        assert re.search(rf"^ +salt '?[\w*]+'? {name}\b", text, re.MULTILINE), name
    code, states = registry.salt("sys.state_doc", "kingfisher")
    assert code == 0
    assert "everything-archived:" in states["kingfisher.archived"]


def test_without_a_master(registry: Registry, installation: Installation, source: str) -> None:
    installation.make(source, "20240501_040506")
    code, printed = registry.run(
        "salt-call",
        "--local",
        "--out=json",
        f"--file-root={registry.salt_tree}",
        f"--pillar-root={registry.root / 'pillar'}",
        "kingfisher.archive",
        "dry_run=True",
        daemon=registry.minion,
    )
    assert code == 0
    assert list(json.loads(printed)["local"]["crawls"]) == [f"{source}/20240501_040506"]


# the library


@pytest.mark.usefixtures("installation")
def test_a_changed_library_is_in_use_on_the_next_job(registry: Registry) -> None:
    assert registry.salt("kingfisher.coverage")[1] == "There are neither crawls nor archives."
    library = registry.salt_tree / "_utils/kingfisher_salt/archive/coverage.py"
    before = library.read_text()
    try:
        library.write_text(before.replace("There are neither", "There are really neither"))
        registry.salt("saltutil.sync_all")
        assert registry.salt("kingfisher.coverage")[1] == "There are really neither crawls nor archives."
    finally:
        library.write_text(before)
        registry.salt("saltutil.sync_all")


# state.apply


def test_all_states_twice(registry: Registry, installation: Installation) -> None:
    installation.configure(schedule={"hour": 4}, log_level="info")
    code, predicted = registry.apply("test=True")
    assert code == 0
    pending = {name for name, state in predicted.items() if state["result"] is None}
    code, first = registry.apply()
    assert code == 0, first
    assert {name for name, state in first.items() if state["changes"]} == pending
    assert {"kingfisher-archive-cron", "kingfisher-archive-minion-configuration"} <= pending
    code, second = registry.apply()
    assert code == 0
    assert [name for name, state in second.items() if state["changes"]] == []
    code, nothing = registry.apply("test=True")
    assert {state["result"] for state in nothing.values()} == {True}


def test_a_scheduled_run_is_silent_unless_it_fails(
    registry: Registry, installation: Installation, source: str
) -> None:
    installation.make(source, "20240501_040506")
    installation.configure(schedule={"mailto": "sysadmin@example.com"})
    code, states = registry.apply("kingfisher.archive")
    assert code == 0, states
    lines = installation.cron_file.read_text().splitlines()
    assert stat.S_IMODE(installation.cron_file.stat().st_mode) == 0o644
    assert "MAILTO=sysadmin@example.com" in lines
    match = re.fullmatch(r"0 3 \* \* \* root (.+)", lines[-1])
    assert match

    def as_cron_does() -> str:
        return subprocess.run(["/bin/sh", "-c", match[1]], capture_output=True, text=True, check=False).stdout

    assert as_cron_does() == ""
    assert installation.keys()[0] == f"{source}/2024/05/data.tar.lz4"
    assert "archived:\n" in (installation.root / "state/last-run.txt").read_text()
    installation.configure(bucket="absent")
    assert "create the bucket, or correct kingfisher_archive:bucket" in as_cron_does()


def test_the_schedule_moves_and_goes(registry: Registry, installation: Installation) -> None:
    def schedule() -> dict[str, object]:
        return registry.salt("schedule.list", "return_yaml=False")[1].get("kingfisher-archive", {})

    installation.configure(schedule={"by": "cron"})
    registry.apply("kingfisher.archive")
    assert installation.cron_file.exists()
    assert schedule() == {}

    installation.configure(schedule={"by": "salt", "hour": 5, "dayweek": "1-5"})
    code, states = registry.apply("kingfisher.archive")
    assert code == 0, states
    assert not installation.cron_file.exists()
    assert (schedule()["function"], schedule()["cron"]) == ("kingfisher.archive", "0 5 * * 1-5")
    code, states = registry.apply("kingfisher.archive")
    assert [name for name, state in states.items() if state["changes"]] == []

    installation.configure(schedule=None)
    code, states = registry.apply("kingfisher.archive")
    assert code == 0, states
    assert states["kingfisher-archive-salt-schedule"]["changes"]
    assert schedule() == {}
    assert not installation.cron_file.exists()
    code, states = registry.apply("kingfisher.archive")
    assert [name for name, state in states.items() if state["changes"]] == []


def test_the_log_level_comes_and_goes(registry: Registry, installation: Installation, source: str) -> None:
    path = registry.minion_configuration / "minion.d/kingfisher_archive.conf"
    installation.make(source, "20240501_040506")
    installation.configure(log_level="info")
    registry.apply("kingfisher.archive")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    log = installation.root / "log"
    registry.run("salt-call", f"--log-file={log}", "kingfisher.archive", "dry_run=True", daemon=registry.minion)
    messages = log.read_text()
    assert re.search(r"kingfisher.*start: ", messages)
    assert "botocore" not in messages
    installation.configure(log_level=None)
    registry.apply("kingfisher.archive")
    assert not path.exists()


def test_a_wrong_schedule_fails(registry: Registry, installation: Installation) -> None:
    installation.configure(schedule={"by": "systemd"})
    code, states = registry.apply("kingfisher.archive")
    assert code != 0
    failed = states["kingfisher-archive-pillar"]
    assert "kingfisher_archive:schedule:by must be one of cron, salt, not 'systemd'" in failed["comment"]
    assert not installation.cron_file.exists()


# secrets


def files_with(secret: str, *directories: Path) -> list[Path]:
    return [
        path
        for directory in directories
        for path in directory.rglob("*")
        if path.is_file() and not path.is_symlink() and secret.encode() in path.read_bytes()
    ]


@pytest.fixture
def dsn() -> str:
    return "https://c0ffee5ecre7@sentry.example/1"


def test_secrets_are_nowhere(
    registry: Registry,
    installation: Installation,
    source: str,
    events: Path,
    seaweedfs: SeaweedFS,
    postgresql: PostgreSQL,
    dsn: str,
) -> None:
    installation.make(source, "20240501_040506")
    installation.make(source, "20240601_040506", finish_reason="shutdown", age_days=100)
    installation.configure(sentry_dsn=dsn, schedule={}, log_level="debug")
    registry.apply("kingfisher.archive", "test=True")
    _, states = registry.apply("kingfisher.archive")
    registry.apply("kingfisher.archive")
    for command in (
        ("archive", "dry_run=True"),
        ("archive",),
        ("crawls",),
        ("archives",),
        ("coverage",),
        ("verify", "deep=True"),
        ("restore", source, "2024-05", str(installation.root / "restored")),
        ("prune", "days=1"),
    ):
        code, result = registry.salt(f"kingfisher.{command[0]}", *command[1:])
        assert code == 0, result
    registry.salt("state.single", "kingfisher.archived", "everything", "min_age_days=0")
    installation.configure(s3={**installation.pillar["s3"], "access_key_id": "unknown"})
    code, result = registry.salt("kingfisher.archive")
    assert code != 0
    assert "check the credentials in kingfisher_archive:s3" in result

    configuration = registry.minion_configuration / "minion.d/kingfisher_archive.conf"
    if "kingfisher-archive-has-no-sentry" in states:
        assert states["kingfisher-archive-has-no-sentry"]["result"] is False
    else:
        assert dsn in configuration.read_text()
    assert stat.S_IMODE(configuration.stat().st_mode) == 0o600

    assert re.search(r"salt/job/\d+/ret/registry", events.read_text())
    # Pillar itself lies in the pillar directory, and in the master's own caches, which only its user can read.
    own = {registry.root / "pillar/registry.sls", configuration}
    daemons = Path(registry.master.config["root_dir"]).parent
    for secret in (seaweedfs.identities["archive"].secret_key, postgresql.password, dsn):
        assert secret not in "".join(registry.printed)
        assert secret not in events.read_text()
        found = set(files_with(secret, registry.root, installation.root, daemons)) - own
        caches = {path for path in found if CACHE.search(str(path))}
        assert found - caches == set()
        assert {path for path in caches if path.stat().st_mode & 0o077} == set()


@pytest.mark.usefixtures("installation")
def test_a_secret_as_an_argument_is_refused(registry: Registry) -> None:
    code, result = registry.salt("kingfisher.archive", "s3={secret_access_key: x}")
    assert code != 0
    assert "argument s3:secret_access_key is a secret, which an argument would show to everyone" in result
