"""
Runs that are killed: at every step, at every request, at every local deletion, and at random.

After each kill, what is on disk and in the bucket is really read: nothing may be described that is not there, and
every crawl must be whole in at least one place. Then a clean run ends in the same bucket as if nothing had happened.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import sys
import tarfile
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lz4.frame
import pytest
from kingfisher_salt.archive import run, upload
from kingfisher_salt.archive.restore import restore

from tests.crawls import age, make_crawl
from tests.installation import Installation, copy_tree, s3_settings
from tests.services.seaweedfs import SeaweedFS

#: The least that S3 takes, so that a crawl of few MB is sent in several parts.
PART = 5 << 20
Files = dict[str, bytes]


@dataclass
class Known:
    """A crawl as it was made."""

    files: Files
    log: bytes


def read_tree(directory: Path) -> Files:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


class World:
    """Crawls to archive, and archives that are there before; made anew for each run that is killed."""

    def __init__(self, server: SeaweedFS, root: Path) -> None:
        self.server = server
        self.origin = root / "origin"
        self.admin = server.client()
        # No two processes may share a connection.
        self.child_client, self.client = server.client("archive"), server.client("archive")
        self._root = root
        self._numbers = iter(range(1_000_000))
        self.known: dict[str, Known] = {}
        #: Crawls by the id of the better one that replaces them.
        self.replaced: dict[str, str] = {}
        self.before: dict[str, Any] = {}

    def add(self, source: str, version: str, log_bytes: int = 0, **options: Any) -> None:
        made = make_crawl(self.origin, source, version, **options)
        assert made.log
        if log_bytes:
            with made.log.open("a") as file:
                file.write(("x" * 99 + "\n") * (log_bytes // 100))
            age(made.log, 30)
        self.known[made.id] = Known(read_tree(made.directory), made.log.read_bytes())

    def new(self) -> Installation:
        root = self._root / str(next(self._numbers))
        root.mkdir()
        copy_tree(self.origin, root)
        bucket = f"kill-{uuid.uuid4().hex}"
        self.admin.create_bucket(Bucket=bucket)
        for key, (content, labels, storage_class) in self.before.items():
            self.admin.put_object(Bucket=bucket, Key=key, Body=content, Metadata=labels, StorageClass=storage_class)
        installation = Installation(root, bucket, s3_settings(self.server), self.admin, self.client)
        installation.child_client = self.child_client
        return installation

    def archive_all(self) -> None:
        """Have what was added until now in the bucket, and not on disk, from now on."""
        installation = self.new()
        assert not installation.run()["failed"]
        self.before = installation.objects()
        shutil.rmtree(self.origin)

    def check(self, installation: Installation) -> None:
        """Raise AssertionError unless every crawl is whole somewhere, and all that is described is there."""
        archived = self._check_bucket(installation)
        for crawl_id, known in self.known.items():
            better = self.replaced.get(crawl_id)
            assert (
                crawl_id in archived
                or self._is_on_disk(installation, crawl_id, known)
                or (better and (better in archived or self._is_on_disk(installation, better, self.known[better])))
            ), f"{crawl_id} is lost"

    def _check_bucket(self, installation: Installation) -> set[str]:
        objects = installation.objects()
        published = {key.rpartition("/")[0] for key in objects if key.endswith("/metadata.json")}
        found = set()
        for prefix in published:
            for name in ("data.tar.lz4", "scrapy.log"):
                assert f"{prefix}/{name}" in objects, "metadata.json describes what is not there"
            crawl_id, files = untar(objects[f"{prefix}/data.tar.lz4"][0])
            assert f'"id": "{crawl_id}"'.encode() in objects[f"{prefix}/metadata.json"][0]
            assert files == self.known[crawl_id].files
            assert objects[f"{prefix}/scrapy.log"][0] == self.known[crawl_id].log
            found.add(crawl_id)
        return found

    @staticmethod
    def _is_on_disk(installation: Installation, crawl_id: str, known: Known) -> bool:
        source, _, version = crawl_id.partition("/")
        logs = [path.read_bytes() for path in (installation.root / "logs" / source).glob("*.log")]
        return known.log in logs and any(
            read_tree(installation.root / "data" / source / name) == known.files
            for name in (version, f".{version}.checking")
        )


def untar(content: bytes) -> tuple[str, Files]:
    files = {}
    crawl_id = ""
    with tarfile.open(fileobj=io.BytesIO(lz4.frame.decompress(content))) as tar:
        for member in tar:
            source, version, *rest = member.name.split("/")
            crawl_id = f"{source}/{version}"
            if member.isfile():
                content_file = tar.extractfile(member)
                assert content_file
                files["/".join(rest)] = content_file.read()
    return crawl_id, files


Arm = Callable[[Installation], dict[str, Any]]


def run_and_be_killed(installation: Installation, arm: Arm) -> bool:
    """Run in a child process, after ``arm`` there. Returns whether the child was killed; it may do nothing but end."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            options = arm(installation)
            result = run.archive(installation.config, run.Options(), client=installation.child_client, **options)
            status = 3 if result["failed"] else 0
        except BaseException:  # noqa: BLE001 - pytest must not go on in the child
            traceback.print_exc()
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0, "the run failed, though it was not killed"
    return False


def counter(number: int) -> Callable[..., None]:
    """Return a function that kills this process when it is called for the n-th time."""
    left = iter(range(number - 1, -1, -1))

    def count(*_: Any, **__: Any) -> None:
        if next(left, 0) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return count


def at_step(number: int) -> Arm:
    return lambda _: {"step": counter(number)}


def at_request(event: str) -> Callable[[int], Arm]:
    def with_number(number: int) -> Arm:
        def arm(installation: Installation) -> dict[str, Any]:
            installation.child_client.meta.events.register(event, counter(number))
            return {}

        return arm

    return with_number


def at_deletion(number: int) -> Arm:
    def arm(_: Installation) -> dict[str, Any]:
        count = counter(number)
        sys.addaudithook(lambda event, _: count() if event in {"os.remove", "os.rename", "os.rmdir"} else None)
        return {}

    return arm


def make_better(server: SeaweedFS, root: Path, **better: int) -> World:
    """Return a world with a crawl that replaces an archive."""
    world = World(server, root)
    world.add("better", "20240101_000000", files=2)
    world.archive_all()
    world.add("better", "20240102_000000", files=2, **better)
    world.replaced = {"better/20240101_000000": "better/20240102_000000"}
    return world


def make_world(server: SeaweedFS, root: Path) -> World:
    """Return a world with a crawl that replaces an archive, and one that is the first."""
    world = make_better(server, root, size=400)
    world.add("first", "20231231_235959", files=2, job_file=True)
    log = next((world.origin / "logs" / "first").glob("*.log"))
    log.with_name(f"{log.name}.stats").write_text("{}")
    return world


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Return how large a crawl and a log are that are sent in parts, of which there are two or three."""
    monkeypatch.setattr(upload, "PART_SIZE", PART)
    return {"size": (PART + 100_000) // 2, "log_bytes": PART + 100_000}


def kill_at_every_point(world: World, at: Callable[[int], Arm]) -> int:
    """Return at how many points a run was killed, and found to go on as if it had not been."""
    undisturbed = world.new()
    assert not run_and_be_killed(undisturbed, lambda _: {})
    world.check(undisturbed)
    listing, disk = undisturbed.listing(), undisturbed.disk()
    prefixes = {crawl_id.partition("/")[0] for crawl_id in world.known}
    assert {key.partition("/")[0] for key in listing} == prefixes
    assert {key.rpartition("/")[2] for key in listing} == {"data.tar.lz4", "metadata.json", "scrapy.log"}
    assert disk == [f"{name}/{source}" for name in ("data", "logs") for source in sorted(prefixes)]
    number = 0
    killed = True
    while killed:
        number += 1
        installation = world.new()
        killed = run_and_be_killed(installation, at(number))
        world.check(installation)
        assert not installation.run()["failed"], f"after it was killed at {number}"
        assert installation.listing() == listing, f"after it was killed at {number}"
        assert installation.disk() == disk, f"after it was killed at {number}"
        shutil.rmtree(installation.root)
    return number - 1


@pytest.mark.parametrize(
    "at", [at_step, at_request("response-received.s3"), at_deletion], ids=["step", "response", "deletion"]
)
def test_a_run_is_killed_at_every_point(at: Callable[[int], Arm], seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    assert kill_at_every_point(make_world(seaweedfs, tmp_path), at) >= 18


def test_a_run_that_sends_parts_is_killed_at_every_request(
    in_parts: dict[str, int], seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    world = make_better(seaweedfs, tmp_path, **in_parts)
    assert kill_at_every_point(world, at_request("before-send.s3")) >= 20


KILLS = 50


def test_a_run_is_killed_at_random(seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    seed = int(os.environ.get("KINGFISHER_SEED", random.randrange(1 << 32)))
    print(f"KINGFISHER_SEED={seed}")
    chance = random.Random(seed)
    world = World(seaweedfs, tmp_path)
    for source in ("a", "b", "c", "d"):
        for month in range(1, 7):
            world.add(source, f"2024{month:02}05_000000", files=3, size=300 + 1000 * month)
    # Two that replace one another, if the first is sent, and one that is kept.
    world.add("a", "20240603_000000", files=2, size=300)
    world.add("a", "20240610_000000", files=2, size=300)
    world.replaced = {"a/20240603_000000": "a/20240605_000000"}
    installation = world.new()
    started = time.monotonic()
    assert not run_and_be_killed(installation, lambda _: {})
    duration = time.monotonic() - started
    listing = installation.listing()
    installation = world.new()
    kills = starts = 0
    while kills < KILLS:
        if run_and_be_killed(installation, after(chance.uniform(0.0, duration / 2))):
            kills += 1
            continue
        starts += 1
        assert installation.listing() == listing
        installation = world.new()
    world.check(installation)
    assert not installation.run()["failed"]
    assert installation.listing() == listing
    print(f"killed {kills} times, and done {starts} times before the last time")
    assert restore_all(world, installation, tmp_path / "restored") == 24


def restore_all(world: World, installation: Installation, target: Path) -> int:
    """Restore every archive and compare it with what was made. Returns how many there were."""
    restored = 0
    for crawl_id, known in world.known.items():
        source, _, version = crawl_id.partition("/")
        if (installation.root / "data" / crawl_id).exists():
            assert read_tree(installation.root / "data" / crawl_id) == known.files
        elif crawl_id not in world.replaced:
            month = f"{version[:4]}-{version[4:6]}"
            found = restore(installation.config, source, month, target, client=installation.client)
            assert found["id"] == crawl_id
            assert read_tree(Path(found["directory"])) == known.files
            assert Path(found["log"]).read_bytes() == known.log
            restored += 1
    return restored


def after(seconds: float) -> Arm:
    """Kill the run after so many seconds, wherever it is then."""

    def arm(_: Installation) -> dict[str, Any]:
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, seconds)
        return {}

    return arm
