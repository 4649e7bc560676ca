"""salt-run kingfisher.archive and kingfisher.follow, with a real master, minion and store."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.crawls import age, make_crawl
from tests.integration.conftest import BINARIES, Registry
from tests.services.seaweedfs import REGION, SeaweedFS

JOB_PREFIX = "Job "


@dataclass
class Ended:
    """What a command left."""

    code: int
    result: dict[str, Any]
    stderr: str


def salt_run(registry: Registry) -> list[str | Path]:
    return [BINARIES / "salt-run", f"--config-dir={registry.master.config_dir}", "--log-level=quiet"]


class Command:
    """A salt-run that goes on, with both of its streams."""

    def __init__(self, registry: Registry, *arguments: str):
        self._stderr = ""
        self._process = subprocess.Popen(
            [*salt_run(registry), "--out=json", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def job(self) -> str:
        """Return the id of the job, once it was started."""
        assert self._process.stderr
        for line in self._process.stderr:
            self._stderr += line
            if line.startswith(JOB_PREFIX):
                return line.split()[1]
        raise AssertionError(self._stderr + self._process.communicate()[0])

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def end(self) -> Ended:
        stdout, stderr = self._process.communicate(timeout=120)
        return Ended(self._process.returncode, json.loads(stdout), self._stderr + stderr)


@dataclass
class Site:
    """Crawls on disk, that are no other test's."""

    registry: Registry
    directory: Path

    def start(self, function: str, *arguments: str) -> Command:
        return Command(self.registry, f"kingfisher.{function}", *arguments)

    def archive(self, target: str = "registry", *arguments: str) -> Command:
        return self.start("archive", target, *arguments)

    def crawl(self, source: str, month: int = 1) -> Path:
        return make_crawl(self.directory, source, f"2024{month:02}01_000000").directory

    def broken_crawl(self, source: str) -> Path:
        directory = self.crawl(source)
        os.mkfifo(directory / "pipe")
        age(directory, 30)
        return directory


@pytest.fixture(scope="module")
def prepared(registry: Registry) -> Registry:
    """Return a master that was prepared as docs/ say."""
    code, printed = registry.run("salt-run", "saltutil.sync_all")
    assert code == 0, printed
    return registry


@pytest.fixture
def site(prepared: Registry, tmp_path: Path, seaweedfs: SeaweedFS, bucket: str) -> Site:
    for name in ("data", "logs"):
        (tmp_path / name).mkdir()
    pillar = {
        "bucket": bucket,
        "data_directory": str(tmp_path / "data"),
        "logs_directory": str(tmp_path / "logs"),
        "cache_file": str(tmp_path / "cache.sqlite"),
        "lock_file": str(tmp_path / "archive.lock"),
        "s3": {
            "endpoint_url": seaweedfs.endpoint_url,
            "region": REGION,
            "credentials_file": str(seaweedfs.credentials_file(tmp_path / "credentials", "archive")),
        },
    }
    prepared.set_pillar({"kingfisher_archive": pillar})
    return Site(prepared, tmp_path)


@pytest.fixture
def down(registry: Registry) -> Iterator[str]:
    """Return a minion whose key was accepted, and that is down."""
    keys = Path(registry.master.config["pki_dir"]) / "minions"
    shutil.copy(keys / "registry", keys / "down")
    yield "down"
    (keys / "down").unlink()


@contextmanager
def stalled(seaweedfs: SeaweedFS) -> Iterator[None]:
    """Let the store answer no more, so that a job goes on."""
    os.kill(seaweedfs.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(seaweedfs.pid, signal.SIGCONT)


def running(registry: Registry, job: str) -> int:
    """Return the process of a job, once it is there."""
    for _ in range(100):
        if found := registry.salt("saltutil.find_job", job)[1]:
            return int(found["pid"])
        time.sleep(0.1)
    raise AssertionError(job)


def test_job_is_followed_to_its_end(site: Site) -> None:
    crawls = [site.crawl("spain", month) for month in (1, 2, 3)]
    ended = site.archive().end()
    outcome = ended.result["minions"]["registry"]
    assert ended.code == ended.result["retcode"] == 0
    assert outcome["summary"]["archived"] == 3
    assert outcome["failed"] == {}
    assert not any(crawl.exists() for crawl in crawls)
    assert f"To follow it elsewhere: salt-run kingfisher.follow {ended.result['jid']}" in ended.stderr
    assert "registry: archived 3 of 3 crawls, 1.80 kB in 0:0" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_arguments_reach_the_minion(site: Site) -> None:
    crawls = [site.crawl("spain"), site.crawl("france"), site.crawl("italy")]
    ended = site.archive("registry,nobody", "tgt_type=list", "dry_run=True", "source=[spain, italy]").end()
    assert ended.code == 0
    assert ended.result["minions"]["registry"]["summary"]["crawls"] == 2
    assert "registry: would archive 2 of 2 crawls, 1.20 kB" in ended.stderr
    assert all(crawl.exists() for crawl in crawls)


def test_a_crawl_that_fails_is_said_and_changes_the_exit_code(site: Site) -> None:
    site.crawl("spain")
    site.broken_crawl("france")
    ended = site.archive().end()
    outcome = ended.result["minions"]["registry"]
    assert ended.code == ended.result["retcode"] == 1
    assert outcome["summary"]["archived"] == 1
    assert list(outcome["failed"]) == ["france/20240101_000000"]
    assert "registry: france/20240101_000000: pipe is a FIFO" in ended.stderr


def test_a_wrong_setting_is_said_as_the_minion_says_it(site: Site) -> None:
    ended = site.archive("registry", "min_age=1").end()
    assert ended.code == 1
    assert "min_age" in ended.result["minions"]["registry"]["error"]
    assert "ERROR" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_no_match_is_one_sentence(site: Site) -> None:
    ended = site.archive("nobody").end()
    assert ended.code == 1
    assert ended.result["error"].startswith("no minion matches the glob target 'nobody'")
    assert "Traceback" not in ended.stderr


def test_a_minion_that_is_down_is_given_up_and_does_not_hide_the_others(site: Site, down: str) -> None:
    site.crawl("spain")
    ended = site.archive("registry,down", "tgt_type=list").end()
    minions = ended.result["minions"]
    assert ended.code == 1
    assert minions["registry"]["summary"]["archived"] == 1
    assert minions[down]["error"].startswith("the minion did not answer")


def test_a_minion_without_the_module_is_told_from_one_that_is_down(site: Site) -> None:
    (Path(site.registry.minion.config["extension_modules"]) / "modules" / "kingfisher.py").unlink()
    try:
        ended = site.archive().end()
    finally:
        assert site.registry.salt("saltutil.sync_all")[0] == 0
    assert ended.code == 1
    assert ended.result["minions"]["registry"]["error"] == (
        "the minion does not have kingfisher.archive: salt 'registry' saltutil.sync_all"
    )


@pytest.mark.parametrize("by_id", [True, False])
def test_an_interrupt_leaves_the_job_alone_and_it_can_be_followed_again(
    site: Site, seaweedfs: SeaweedFS, by_id: bool
) -> None:
    crawl = site.crawl("spain")
    with stalled(seaweedfs):
        command = site.archive()
        job = command.job()
        running(site.registry, job)
        command.interrupt()
        interrupted = command.end()
        following = site.start("follow", *([job] if by_id else []))
        time.sleep(6)  # longer than it takes until the minion is asked
    followed = following.end()
    assert interrupted.code == interrupted.result["retcode"] == 130
    assert interrupted.result["minions"] == {"registry": {"running": True}}
    assert f"The job goes on. To follow it again: salt-run kingfisher.follow {job}" in interrupted.stderr
    assert "Traceback" not in interrupted.stderr
    assert followed.code == 0
    assert followed.result["jid"] == job
    assert followed.result["minions"]["registry"]["summary"]["archived"] == 1
    assert not crawl.exists()


def test_a_job_that_is_over_is_told_from_the_job_cache(site: Site) -> None:
    site.broken_crawl("france")
    ended = site.archive().end()
    again = site.start("follow", ended.result["jid"]).end()
    assert again.code == 1
    assert again.result == ended.result


def test_a_job_that_was_killed_is_not_followed_forever(site: Site, seaweedfs: SeaweedFS) -> None:
    site.crawl("spain")
    with stalled(seaweedfs):
        command = site.archive()
        os.kill(running(site.registry, command.job()), signal.SIGKILL)
        ended = command.end()
    assert ended.code == 1
    assert "the job is not running there, and nothing was returned" in ended.result["minions"]["registry"]["error"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "no job of kingfisher.archive is running"),
        (["20200101000000000000"], "there is no job 20200101000000000000"),
        (["nonsense"], "there is no job nonsense"),
    ],
)
def test_what_cannot_be_followed_is_one_sentence(site: Site, arguments: list[str], expected: str) -> None:
    ended = site.start("follow", *arguments).end()
    assert ended.code == 1
    assert ended.result["error"].startswith(expected)
    assert "Traceback" not in ended.stderr


def test_a_job_of_another_function_is_not_followed(site: Site) -> None:
    job = site.registry.run("salt", "--async", "registry", "test.ping")[1].split("job ID: ")[1].split()[0]
    ended = site.start("follow", job).end()
    assert ended.result["error"] == f"job {job} is one of test.ping, not of kingfisher.archive"


def test_runner_without_its_library_says_the_cure(site: Site) -> None:
    library = Path(site.registry.master.config["extension_modules"]) / "utils" / "kingfisher_salt"
    library.rename(library.with_name("elsewhere"))
    try:
        printed = site.registry.run("salt-run", "kingfisher.follow")[1]
    finally:
        library.with_name("elsewhere").rename(library)
    assert "kingfisher_salt is not on the master: salt-run saltutil.sync_all" in printed


def test_progress_is_on_the_bus_for_anyone(site: Site) -> None:
    site.crawl("spain")
    watcher = subprocess.Popen(
        [*salt_run(site.registry), "state.event", "kingfisher/archive/*", "count=2"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for _ in range(20):
            time.sleep(0.5)  # until it listens
            ended = site.archive("registry", "dry_run=True").end()
            with suppress(subprocess.TimeoutExpired):
                watcher.wait(0.5)
                break
        stdout = watcher.communicate(timeout=10)[0]
    finally:
        watcher.kill()
    events = [line.split("\t", 1) for line in stdout.splitlines() if line.startswith("kingfisher/archive/")]
    assert [tag for tag, _ in events] == [
        f"kingfisher/archive/{ended.result['jid']}/start",
        f"kingfisher/archive/{ended.result['jid']}/end",
    ]
    assert {json.loads(data)["id"] for _, data in events} == {"registry"}
