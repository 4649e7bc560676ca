"""What the archive does when the store, the disk, the database or a crawl is not as it should be."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.retries.standard import ExponentialBackoff
from kingfisher_salt.archive import cache as caches
from kingfisher_salt.archive import commit, config, locks, plan, run, upload
from kingfisher_salt.archive import crawl as crawls
from kingfisher_salt.archive.bucket import Bucket, connect, server_time
from kingfisher_salt.archive.coverage import cover, text
from kingfisher_salt.archive.listing import archives
from kingfisher_salt.archive.prune import prune
from kingfisher_salt.archive.restore import restore
from kingfisher_salt.archive.verify import verify
from kingfisher_salt.errors import KingfisherError, LockedError, UnreachableError

from tests.crawls import MadeCrawl, age, make_crawl
from tests.installation import Installation, s3_settings, stat_tree
from tests.services.faults import ILL, Fault, Faults, Request
from tests.services.postgresql import PostgreSQL
from tests.services.seaweedfs import SeaweedFS

Rule = Callable[[Request], Fault | None]
PART = 5 << 20


@pytest.fixture(scope="module")
def admin(seaweedfs: SeaweedFS) -> Any:
    return seaweedfs.client()


@pytest.fixture
def installation(tmp_path: Path, seaweedfs: SeaweedFS, bucket: str, admin: Any) -> Installation:
    return Installation(tmp_path, bucket, s3_settings(seaweedfs), admin, seaweedfs.client("archive"))


@pytest.fixture
def faults(seaweedfs: SeaweedFS) -> Iterator[Faults]:
    with Faults(seaweedfs.port) as proxy:
        yield proxy


@pytest.fixture
def behind(
    faults: Faults, tmp_path: Path, seaweedfs: SeaweedFS, bucket: str, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> Installation:
    """Return an installation that reaches the store by way of the proxy, with a crawl in two parts and a small one."""
    monkeypatch.setattr(upload, "PART_SIZE", PART)
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0)
    make_crawl(tmp_path, "a", "20240101_000000", files=1, size=PART + 100)
    make_crawl(tmp_path, "b", "20240101_000000")
    s3 = s3_settings(seaweedfs, endpoint_url=faults.url, read_timeout=60, connect_timeout=2)
    return Installation(tmp_path, bucket, s3, admin)


def settle(installation: Installation, client: Any) -> dict[str, Any]:
    """Run without faults, and return what is in the bucket then."""
    installation.client = client
    result = installation.run()
    assert not result["failed"]
    assert not verify(installation.config, deep=True, client=client)["failed"]
    return installation.objects()


def ids(result: dict[str, Any]) -> list[str]:
    return [crawl_id for crawl_id, entry in result["crawls"].items() if entry.get("result") == "archived"]


def key(request: Request) -> str:
    """Return what follows the bucket in a path."""
    return request.path.lstrip("/").partition("/")[2]


def once(is_meant: Callable[[Request], bool], fault: Fault) -> Rule:
    left = [fault]
    return lambda request: left.pop() if left and is_meant(request) else None


def always(is_meant: Callable[[Request], bool], fault: Fault) -> Rule:
    return lambda request: fault if is_meant(request) else None


ERROR_500 = Fault(500, ILL % b"InternalError")
ERROR_503 = Fault(503, ILL % b"SlowDown")


# The store


@pytest.mark.parametrize(
    "fault",
    [ERROR_500, ERROR_503, Fault(), Fault(forwarded=True)],
    ids=["500", "503", "cut before", "cut after"],
)
@pytest.mark.parametrize(
    "is_meant",
    [
        lambda request: request.is_part,
        lambda request: request.is_completion,
        lambda request: request.method == "HEAD",
        lambda request: request.method == "PUT" and key(request) == "a/2024/01/metadata.json",
        lambda request: request.method == "PUT" and key(request) == "b/2024/01/data.tar.lz4",
        lambda request: request.method == "PUT" and key(request) == locks.LOCK_KEY,
        lambda request: request.method == "GET" and "list-type" in request.query,
    ],
    ids=["part", "completion", "head", "metadata", "put", "lock", "list"],
)
def test_a_fault_that_passes_is_not_noticed(
    is_meant: Callable[[Request], bool], fault: Fault, behind: Installation, faults: Faults
) -> None:
    faults.rule = once(is_meant, fault)
    result = behind.run()
    assert faults.hits
    if fault.forwarded and faults.hits[0].is_completion and result["failed"]:
        # It was completed, and when asked again the store knows of no such upload.
        assert (behind.root / "data/a/20240101_000000").exists()
        result = behind.run()
    assert not result["failed"]
    assert not (behind.root / "data/a/20240101_000000").exists()
    assert not (behind.root / "data/b/20240101_000000").exists()
    assert set(behind.listing()) == {
        f"{source}/2024/01/{name}" for source in "ab" for name in ("data.tar.lz4", "metadata.json", "scrapy.log")
    }


STEPS: dict[str, Callable[[Request], bool]] = {
    "part": lambda request: request.is_part and key(request).startswith("a/"),
    "completion": lambda request: request.is_completion and key(request).startswith("a/"),
    "head": lambda request: request.method == "HEAD" and key(request) == "a/2024/01/scrapy.log",
    "metadata": lambda request: request.method == "PUT" and key(request) == "a/2024/01/metadata.json",
}
FAULTS = {"500": ERROR_500, "503": ERROR_503, "cut": Fault(), "403": Fault(403, ILL % b"AccessDenied")}
# Only completion answers 200 before it is done.
STAYING = [
    *((step, fault) for step in STEPS for fault in FAULTS.items()),
    ("completion", ("200 with an error in it", Fault(200, ILL % b"InternalError"))),
]


@pytest.mark.parametrize(
    ("step", "fault"), [pytest.param(step, fault, id=f"{step}-{name}") for step, (name, fault) in STAYING]
)
def test_a_fault_that_stays_fails_one_crawl(
    step: str, fault: Fault, behind: Installation, faults: Faults, seaweedfs: SeaweedFS
) -> None:
    faults.rule = always(STEPS[step], fault)
    result = behind.run()
    assert list(result["failed"]) == ["a/20240101_000000"]
    assert ids(result) == ["b/20240101_000000"]
    assert (behind.root / "data/a/20240101_000000").exists()
    assert not (behind.root / "data/b/20240101_000000").exists()
    assert "a/2024/01/metadata.json" not in behind.listing()
    settled = settle(behind, seaweedfs.client("archive"))
    assert set(settled) >= {"a/2024/01/metadata.json", "b/2024/01/metadata.json"}
    assert not any(name.startswith("upload of") for name in settled)


def test_a_store_that_refuses_connections_ends_the_run(behind: Installation, faults: Faults) -> None:
    faults.refuse()
    with pytest.raises(UnreachableError, match="check kingfisher_archive:s3:endpoint_url"):
        behind.run()
    assert (behind.root / "data/a/20240101_000000").exists()


def test_a_store_that_begins_to_refuse_connections_ends_the_run(
    behind: Installation, faults: Faults, seaweedfs: SeaweedFS
) -> None:
    faults.rule = lambda request: faults.refuse() if request.is_part else None
    result = behind.run()
    assert list(result["failed"]) == ["a/20240101_000000"]
    assert result["crawls"]["b/20240101_000000"]["decision"] == "skip"
    assert result["crawls"]["b/20240101_000000"]["reason"] == "stopped"
    assert len(settle(behind, seaweedfs.client("archive"))) == 6


@pytest.mark.parametrize("method", ["PUT", "POST", "HEAD"])
def test_a_store_that_stalls_fails_the_crawl(
    method: str, behind: Installation, faults: Faults, seaweedfs: SeaweedFS
) -> None:
    behind.client = connect({**behind.config.s3, "read_timeout": 0.3, "attempts": 1})
    faults.rule = always(lambda r: r.method == method and key(r).startswith("a/2024/01/data"), Fault(stalls=True))
    result = behind.run()
    assert list(result["failed"]) == ["a/20240101_000000"]
    assert "check kingfisher_archive:s3 and the network" in result["failed"]["a/20240101_000000"]
    assert len(settle(behind, seaweedfs.client("archive"))) == 6


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "1"},
        {"x-amz-checksum-crc32": "AAAAAA=="},
        {"x-amz-checksum-crc32": "", "x-amz-checksum-type": "", "ETag": '"00000000000000000000000000000000"'},
    ],
    ids=["size", "checksum", "entity tag"],
)
@pytest.mark.parametrize("name", ["data.tar.lz4", "scrapy.log"])
def test_nothing_local_is_deleted_if_the_store_reports_something_else(
    name: str, headers: dict[str, str], behind: Installation, faults: Faults
) -> None:
    faults.rule = always(lambda r: r.method == "HEAD" and key(r) == f"b/2024/01/{name}", Fault(headers=headers))
    before = stat_tree(behind.root / "data" / "b"), stat_tree(behind.root / "logs" / "b")
    result = behind.run()
    assert list(result["failed"]) == ["b/20240101_000000"]
    assert (stat_tree(behind.root / "data" / "b"), stat_tree(behind.root / "logs" / "b")) == before
    assert "b/2024/01/metadata.json" not in behind.listing()


def test_a_store_without_checksums_is_asked_for_the_entity_tag(behind: Installation, faults: Faults) -> None:
    nothing = {"x-amz-checksum-crc32": "", "x-amz-checksum-type": ""}
    faults.rule = always(lambda r: r.method == "HEAD", Fault(headers=nothing))
    assert ids(behind.run()) == ["a/20240101_000000", "b/20240101_000000"]


def test_a_replacement_that_may_not_delete_leaves_the_old_archive(
    installation: Installation, seaweedfs: SeaweedFS
) -> None:
    make_crawl(installation.root, "a", "20240101_000000")
    installation.run()
    before = installation.listing()
    make_crawl(installation.root, "a", "20240102_000000", files=9)
    installation.client = seaweedfs.client("limited")
    result = installation.run()
    assert "four permissions" in result["failed"]["a/20240102_000000"]
    after = {name: tag for name, tag in installation.listing().items() if name in before}
    assert after == before
    assert (installation.root / "data/a/20240102_000000").exists()
    objects = settle(installation, seaweedfs.client("archive"))
    assert b'"id": "a/20240102_000000"' in objects["a/2024/01/metadata.json"][0]
    assert len(objects) == 3


@pytest.mark.parametrize("part", ["data.tar.lz4", "scrapy.log", "metadata.json"])
def test_a_replacement_that_fails_half_way_is_finished_by_the_next_run(
    part: str, behind: Installation, faults: Faults, seaweedfs: SeaweedFS
) -> None:
    assert not behind.run()["failed"]
    better = make_crawl(behind.root, "b", "20240102_000000", files=9)
    made = {path.name: path.read_bytes() for path in better.directory.rglob("*.json")}
    faults.rule = always(lambda r: r.method == "PUT" and key(r) == f"b/2024/01/{part}", ERROR_500)
    assert list(behind.run()["failed"]) == ["b/20240102_000000"]
    assert {path.name: path.read_bytes() for path in better.directory.rglob("*.json")} == made
    listing = behind.listing()
    if part == "data.tar.lz4":  # the old one is published again
        assert "b/2024/01/metadata.json" in listing
        assert "b/2024/01/replacing.json" not in listing
    else:  # there is neither, and nobody who looks is told otherwise
        assert "b/2024/01/metadata.json" not in listing
    objects = settle(behind, seaweedfs.client("archive"))
    assert json.loads(objects["b/2024/01/metadata.json"][0])["id"] == "b/20240102_000000"
    assert "b/2024/01/replacing.json" not in objects


def test_a_listing_that_fails_after_a_crawl_was_archived_lets_no_other_overwrite_it(
    installation: Installation, seaweedfs: SeaweedFS, faults: Faults
) -> None:
    make_crawl(installation.root, "a", "20240101_000000", files=3)
    make_crawl(installation.root, "a", "20240102_000000", files=3)
    make_crawl(installation.root, "a", "20240201_000000", files=3)
    installation.client = connect({**installation.config.s3, "endpoint_url": faults.url})
    archived: list[int] = []

    def rule(request: Request) -> Fault | None:
        if key(request) == "a/2024/01/metadata.json" and request.method == "PUT":
            archived.append(1)
        wanted = request.query.get("prefix", [""])[0] == "a/2024/01/" or key(request) == "a/2024/02/data.tar.lz4"
        return ERROR_500 if archived and wanted else None

    faults.rule = rule
    installation.run()
    objects = installation.objects()
    assert json.loads(objects["a/2024/01/metadata.json"][0])["id"] == "a/20240101_000000"
    assert not verify(installation.config, deep=True, client=seaweedfs.client("archive"))["failed"]


# What is on disk


@pytest.fixture
def crawl(installation: Installation) -> MadeCrawl:
    """Return a crawl of three files; and there is another source, that nothing is wrong with."""
    make_crawl(installation.root, "other", "20240101_000000")
    return make_crawl(installation.root, "a", "20240101_000000", files=3, size=100_000)


def assert_failed(installation: Installation, result: dict[str, Any]) -> None:
    """Raise AssertionError unless the crawl of source a failed and is not archived, and the other is."""
    assert list(result["failed"]) == ["a/20240101_000000"], result["failed"]
    assert ids(result) == ["other/20240101_000000"]
    assert "a/2024/01/metadata.json" not in installation.listing()


def change_while_it_is_read(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Have something done once the first bytes of the crawl were read for the archive."""
    write = upload.Upload.write

    def writing(self: Any, data: bytes) -> None:
        write(self, data)
        if self.key == "a/2024/01/data.tar.lz4" and not done and len(data) > 50_000:
            done.append(True)
            change()

    done: list[bool] = []
    monkeypatch.setattr(upload.Upload, "write", writing)


def last_file(crawl: MadeCrawl) -> Path:
    return max(crawl.directory.rglob("*.json"))


CHANGES = {
    "changes": lambda path: path.write_bytes(b"\0" * 100_000),
    "grows": lambda path: path.open("ab").write(b"more"),
    "shrinks": lambda path: os.truncate(path, 10),
    "vanishes": lambda path: path.unlink(),
    "is replaced by a symlink": lambda path: (path.unlink(), path.symlink_to("/etc/passwd")),
    "gets a sibling": lambda path: path.with_name("new.json").write_text("{}"),
    "gets a sibling that comes first": lambda path: (path.parents[1] / "0.json").write_text("{}"),
    "loses its directory": lambda path: path.parent.rename(path.parents[2] / "elsewhere"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_is_not_what_it_was_fails_its_crawl(
    change: str, crawl: MadeCrawl, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_while_it_is_read(monkeypatch, lambda: CHANGES[change](last_file(crawl)))
    assert_failed(installation, installation.run())
    assert crawl.directory.exists() and crawl.log and crawl.log.exists()


@pytest.mark.parametrize("step", ["publish", "set_aside"])
def test_a_file_that_comes_after_the_archive_was_written_is_kept(
    step: str, crawl: MadeCrawl, installation: Installation
) -> None:
    aside = crawl.directory.with_name(".20240101_000000.checking")

    def add(crawl_id: str, name: str) -> None:
        if (crawl_id, name) == (crawl.id, step):
            (aside if step == "set_aside" else crawl.directory).joinpath("late.json").write_text("{}")

    result = run.archive(installation.config, run.Options(), client=installation.client, step=add)
    assert "changed before it was deleted" in result["failed"][crawl.id]
    assert (crawl.directory / "late.json").exists()
    assert len(list(crawl.directory.rglob("*.json"))) == 4
    assert not aside.exists()


def test_a_directory_that_was_set_aside_and_made_again_loses_nothing(
    crawl: MadeCrawl, installation: Installation
) -> None:
    def add(crawl_id: str, name: str) -> None:
        if (crawl_id, name) == (crawl.id, "set_aside"):
            crawl.directory.mkdir()
            (crawl.directory / "late.json").write_text("{}")
            crawl.directory.with_name(".20240101_000000.checking").joinpath("more.json").write_text("{}")

    run.archive(installation.config, run.Options(), client=installation.client, step=add)
    for _ in range(2):
        result = installation.run()
        assert "move one of the two away" in result["failed"][crawl.id]
    assert (crawl.directory / "late.json").exists()
    assert crawl.directory.with_name(".20240101_000000.checking").joinpath("more.json").exists()


@pytest.mark.parametrize("when", ["read", "sent"])
def test_a_log_that_changes_is_not_deleted(when: str, crawl: MadeCrawl, installation: Installation) -> None:
    assert crawl.log
    log = crawl.log

    def change(crawl_id: str, name: str) -> None:
        if (crawl_id, name) == (crawl.id, when):
            with log.open("a") as file:
                file.write("more\n")

    result = run.archive(installation.config, run.Options(), client=installation.client, step=change)
    assert log.read_text().endswith("more\n")
    if when == "read":
        assert "its log" in result["failed"][crawl.id]
        assert crawl.directory.exists()


def test_directories_that_cannot_be_read_fail_their_crawl_alone(
    tmp_path: Path, seaweedfs: SeaweedFS, bucket: str, admin: Any
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    for name in ("a", "b", "c", "d"):
        make_crawl(tmp_path, name, "20240101_000000")
    installation = Installation(tmp_path, bucket, s3_settings(seaweedfs), admin, seaweedfs.client("archive"))
    (tmp_path / "first").mkdir()
    first = Installation(tmp_path / "first", bucket, s3_settings(seaweedfs), admin, seaweedfs.client("archive"))
    assert not first.run()["failed"]  # which imports what nobody may not be able to read
    for path in [tmp_path, *tmp_path.rglob("*")]:
        os.chown(path, 65534, 65534)
    next((tmp_path / "data/a").rglob("*.json")).chmod(0)
    next((tmp_path / "data/b/20240101_000000").iterdir()).chmod(0)
    (tmp_path / "data/c").chmod(0)
    report = tmp_path / "report.json"
    child = os.fork()
    if child == 0:
        try:
            for parent in tmp_path.parents:  # pytest's directories are root's alone
                if parent.stat().st_uid == 0 and not parent.stat().st_mode & 1:
                    parent.chmod(parent.stat().st_mode | 0o001)
            os.setgid(65534)
            os.setuid(65534)
            report.write_text(json.dumps(installation.run()))
        except BaseException:  # noqa: BLE001 - pytest must not go on in the child
            traceback.print_exc()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    result = json.loads(report.read_text())
    assert sorted(result["failed"]) == ["a/20240101_000000", "b/20240101_000000", "c"]
    assert all("Permission denied" in error for error in result["failed"].values())
    assert ids(result) == ["d/20240101_000000"]


def test_a_crawl_of_empty_files_is_archived(installation: Installation) -> None:
    make_crawl(installation.root, "a", "20240101_000000", size=0)
    assert ids(installation.run()) == ["a/20240101_000000"]
    assert not verify(installation.config, deep=True, client=installation.client)["failed"]


NAMES = [
    b"new\nline",
    b"\xff\xfe not UTF-8",
    b"x" * 255,
    "é".encode() * 127,
    b"-rf",
    b"a\\b",
    b" ",
    b"\x01\x7f",
    b"'\"",
]


def test_names_of_any_bytes_are_archived(installation: Installation, tmp_path: Path) -> None:
    crawl = make_crawl(installation.root, "a", "20240101_000000")
    for name in NAMES:
        (crawl.directory / os.fsdecode(name)).write_bytes(name)
        (crawl.directory / os.fsdecode(name[:254] + b"d")).mkdir()
    age(crawl.directory, 30)
    before = {os.fsencode(path.relative_to(crawl.directory)) for path in crawl.directory.rglob("*")}
    assert ids(installation.run()) == [crawl.id]
    assert not verify(installation.config, deep=True, client=installation.client)["failed"]
    restored = restore(installation.config, "a", "2024-01", tmp_path / "restored", client=installation.client)
    directory = Path(restored["directory"])
    assert {os.fsencode(path.relative_to(directory)) for path in directory.rglob("*")} == before
    for name in NAMES:
        assert (directory / os.fsdecode(name)).read_bytes() == name


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)
        server.bind(path.name)
        os.chdir(here)


SPECIAL = {
    "a symlink": lambda path: path.symlink_to("/etc/passwd"),
    "a FIFO": os.mkfifo,
    "a socket": make_socket,
    "a device": lambda path: os.mknod(path, 0o020600, os.makedev(1, 5)),  # /dev/zero
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_file_fails_its_crawl_and_is_not_touched(
    kind: str, crawl: MadeCrawl, installation: Installation
) -> None:
    if kind == "a device" and os.geteuid() != 0:
        pytest.skip("only root makes devices")
    special = last_file(crawl).with_name("special")
    SPECIAL[kind](special)
    for path in (special, special.parent, crawl.directory):
        os.utime(path, (1_600_000_000, 1_600_000_000), follow_symlinks=False)
    before = stat_tree(crawl.directory)
    result = installation.run()
    assert_failed(installation, result)
    assert f"is {kind}" in result["failed"][crawl.id]
    assert stat_tree(crawl.directory) == before


def test_a_special_file_in_place_of_the_job_file_or_the_log_does_not_hang(
    crawl: MadeCrawl, installation: Installation
) -> None:
    assert crawl.log
    crawl.log.unlink()
    os.mkfifo(crawl.log)
    os.mkfifo(crawl.directory / "scrapyd-job.txt")
    age(crawl.directory, 30)
    result = installation.run()
    assert result["crawls"][crawl.id]["reason"] == "no_log_file"
    assert crawl.directory.exists()


def test_symlinked_sources_and_crawls_are_not_considered(installation: Installation, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    crawl = make_crawl(elsewhere, "a", "20240101_000000")
    before = stat_tree(elsewhere)
    (tmp_path / "data/a").symlink_to(elsewhere / "data/a")
    (tmp_path / "data/b").mkdir()
    (tmp_path / "data/b/20240101_000000").symlink_to(crawl.directory)
    (tmp_path / "data/b/.20240101_000000.deleting").symlink_to(crawl.directory)
    (tmp_path / "data/b/.20240102_000000.checking").symlink_to(crawl.directory)
    (tmp_path / "logs/a").symlink_to(elsewhere / "logs/a")
    result = installation.run()
    assert result["ignored"] == {"a": "symlink", "b/20240101_000000": "symlink"}
    assert not result["crawls"] and not result["failed"] and not installation.listing()
    assert stat_tree(elsewhere) == before


def test_a_symlinked_crawl_cannot_be_slipped_in_after_the_decision(
    crawl: MadeCrawl, installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")

    def slip() -> None:
        crawl.directory.rename(tmp_path / "away")
        crawl.directory.symlink_to(secret)

    change_while_it_is_read(monkeypatch, slip)
    assert_failed(installation, installation.run())
    assert (secret / "key").exists()


def test_directories_nested_without_end_fail_their_crawl_alone(crawl: MadeCrawl, installation: Installation) -> None:
    here = os.open(crawl.directory, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    result = installation.run()
    assert_failed(installation, result)
    assert "deep" in result["failed"][crawl.id]
    subprocess.run(["rm", "-rf", crawl.directory], check=True)


def test_names_that_no_terminal_should_see_are_escaped(installation: Installation) -> None:
    for name in (b"\xff\n\x1b[2J", b"a/\xff\n"):
        (installation.root / "data" / os.fsdecode(name)).mkdir(parents=True)
    result = installation.run(dry_run=True)
    assert json.dumps(result).isascii()
    for name in result["ignored"]:
        assert name.isprintable()
        name.encode()


# Disks


def fill_up(directory: Path) -> None:
    with suppress(OSError), open(directory / "ballast", "ab", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a directory on a file system that has no room left."""
    directory = tmp_path / "full"
    directory.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", directory], capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        fill_up(directory)
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def test_a_full_disk_does_not_stop_what_makes_room(
    full_disk: Path, tmp_path: Path, seaweedfs: SeaweedFS, bucket: str, admin: Any
) -> None:
    crawl = make_crawl(tmp_path, "a", "20240101_000000")
    more = {"cache_file": f"{full_disk}/cache.sqlite", "lock_file": f"{full_disk}/lock"}
    full = Installation(tmp_path, bucket, s3_settings(seaweedfs), admin, seaweedfs.client("archive"), **more)
    result = full.run()
    assert ids(result) == [crawl.id]
    assert not crawl.directory.exists()
    assert any("cache" in note for note in result["notes"])


def test_a_disk_that_fills_up_costs_the_cache_alone(
    full_disk: Path, tmp_path: Path, seaweedfs: SeaweedFS, bucket: str, admin: Any
) -> None:
    for source in ("a", "b"):
        make_crawl(tmp_path, source, "20240101_000000")
    (full_disk / "ballast").unlink()
    more = {"cache_file": f"{full_disk}/cache.sqlite", "lock_file": f"{full_disk}/lock"}
    full = Installation(tmp_path, bucket, s3_settings(seaweedfs), admin, seaweedfs.client("archive"), **more)
    assert not full.run(dry_run=True)["failed"]

    def fill(_: str, name: str) -> None:
        if name == "read":
            fill_up(full_disk)

    result = run.archive(full.config, run.Options(), client=full.client, step=fill)
    assert ids(result) == ["a/20240101_000000", "b/20240101_000000"]
    assert not full.run()["failed"]


# Logs

HEAD = "2024-01-01 00:00:00"
HOSTILE = "{'data_type': " * 2000 + "{'errors': " + "[" * 5000 + "__import__('os').abort()"


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (b"\0\xff\xfe" * 100_000, "new_period"),
        (f"\n{HEAD} [scrapy.core.scraper] DEBUG: Scraped from <200 x>\n{HOSTILE}\n".encode(), "new_period"),
        (f"\n{HEAD} [scrapy.core.engine] INFO: Spider opened\n".encode(), "not_finished"),
    ],
    ids=["binary", "hostile", "resumed and cut short"],
)
def test_a_strange_log_does_no_harm(tail: bytes, reason: str, crawl: MadeCrawl, installation: Installation) -> None:
    assert crawl.log
    with crawl.log.open("ab") as file:
        file.write(tail)
    content = crawl.log.read_bytes()
    result = installation.run()
    assert not result["failed"]
    assert result["crawls"][crawl.id]["reason"] == reason
    if reason == "new_period":
        assert installation.objects()["a/2024/01/scrapy.log"][0] == content


# metadata.json

FOREIGN = [b"no JSON", b"[]", b"", b"\xff", b"[" * 100_000, b'{"id": 1}', b'{"bytes": ' + b"9" * 5000 + b"}"]


def spoil(installation: Installation, content: bytes) -> None:
    installation.admin.put_object(Bucket=installation.bucket, Key="a/2024/01/metadata.json", Body=content)


@pytest.mark.parametrize("content", [*FOREIGN, b'{"x": "' + b"x" * (2 << 20) + b'"}'], ids=lambda c: repr(c[:12]))
def test_a_metadata_json_that_says_nothing_is_completed_from_its_archive(
    content: bytes, crawl: MadeCrawl, installation: Installation
) -> None:
    assert not installation.run()["failed"]
    right = json.loads(installation.objects()["a/2024/01/metadata.json"][0])
    spoil(installation, content)
    later = make_crawl(installation.root, "a", "20240102_000000")
    before = installation.listing()
    dry = installation.run(dry_run=True)
    assert installation.listing() == before
    result = installation.run()
    assert not dry["failed"] and not result["failed"]
    assert result["crawls"][later.id]["compared_with"] == crawl.id
    assert json.loads(installation.objects()["a/2024/01/metadata.json"][0]) == right


@pytest.mark.usefixtures("crawl")
def test_nulls_of_the_old_tool_are_completed(installation: Installation) -> None:
    assert not installation.run()["failed"]
    right = json.loads(installation.objects()["a/2024/01/metadata.json"][0])
    old = {name: right[name] for name in ("id", "source_id", "data_version", "reject_reason")} | {
        "bytes": None,
        "checksum": None,
        "files_count": None,
        "errors_count": None,
        "archived": True,
        "data": None,
        "log": [],
    }
    spoil(installation, json.dumps(old).encode())
    assert not archives(installation.config, client=installation.client)["a/2024/01"]["complete"]
    before = installation.listing()
    assert verify(installation.config, dry_run=True, client=installation.client)["summary"]["completed"] == 1
    assert installation.listing() == before
    assert verify(installation.config, client=installation.client)["summary"]["completed"] == 1
    assert json.loads(installation.objects()["a/2024/01/metadata.json"][0]) == right


def test_an_archive_of_somebody_else_is_never_overwritten(crawl: MadeCrawl, installation: Installation) -> None:
    installation.admin.put_object(Bucket=installation.bucket, Key="a/2024/01/data.tar.lz4", Body=b"theirs")
    result = installation.run()
    assert "was not written by kingfisher.archive" in result["failed"][crawl.id]
    assert installation.objects()["a/2024/01/data.tar.lz4"][0] == b"theirs"
    assert crawl.directory.exists()
    assert ids(result) == ["other/20240101_000000"]


@pytest.mark.usefixtures("crawl")
@pytest.mark.parametrize("content", [b"no JSON", b"[]", b"{}", b'{"old": {}, "new": {}}', b'{"old": 1, "new": {}}'])
def test_a_replacing_json_of_somebody_else_does_no_harm(content: bytes, installation: Installation) -> None:
    installation.admin.put_object(Bucket=installation.bucket, Key="a/2024/01/replacing.json", Body=content)
    installation.run()
    result = installation.run()
    assert not result["failed"], result["failed"]
    assert "a/2024/01/metadata.json" in installation.listing()
    assert not verify(installation.config, deep=True, client=installation.client)["failed"]


# Two at once


def test_the_second_run_on_a_host_is_refused(installation: Installation) -> None:
    with locks.host_lock(installation.config.lock_file):
        with pytest.raises(LockedError, match=rf"process {os.getpid()} on .*, since 20"):
            installation.run()
        with pytest.raises(LockedError):
            prune(installation.config, 1, client=installation.client)
        assert installation.run(dry_run=True)["summary"]["dry_run"]
    assert not installation.run()["failed"]


@pytest.mark.parametrize("content", ["", "[]", "no JSON", "\x80"])
def test_a_lock_that_says_nothing_is_a_lock(content: str, installation: Installation) -> None:
    with locks.host_lock(installation.config.lock_file):
        installation.config.lock_file.write_text(content)
        with pytest.raises(LockedError):
            installation.run()


@pytest.fixture
def other_host(installation: Installation, tmp_path: Path, seaweedfs: SeaweedFS, admin: Any) -> Installation:
    root = tmp_path / "other"
    root.mkdir()
    return Installation(root, installation.bucket, s3_settings(seaweedfs), admin, seaweedfs.client("archive"))


def test_the_second_host_on_a_bucket_is_refused(installation: Installation, other_host: Installation) -> None:
    lock = locks.BucketLock(Bucket(installation.client, installation.bucket), installation.config.lock_file)
    said = rf"process {os.getpid()} on .*, since 20.* last heard of \d+ s ago"
    with lock, pytest.raises(LockedError, match=said):
        other_host.run()
    assert not other_host.run()["failed"]
    assert not installation.listing()


def test_a_silent_lock_is_taken_over_and_its_run_stops(
    installation: Installation, other_host: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run is slow; the second takes over in its midst."""
    make_crawl(installation.root, "a", "20240101_000000")
    make_crawl(installation.root, "b", "20240101_000000")
    monkeypatch.setattr(locks, "RENEW", 0.05)
    others: list[dict[str, Any]] = []

    def take_over(_: str, name: str) -> None:
        if name == "read" and not others:
            with monkeypatch.context() as patch:
                patch.setattr(locks, "server_time", lambda answer: server_time(answer) + timedelta(hours=1))
                others.append(other_host.run())
                make_crawl(other_host.root, "c", "20240101_000000")
                others.append(other_host.run())
            installation.admin.put_object(Bucket=installation.bucket, Key=locks.LOCK_KEY, Body=b"{}")
            deadline = time.monotonic() + 20
            while not lost() and time.monotonic() < deadline:
                time.sleep(0.05)

    def lost() -> bool:
        return not any(thread.name == "bucket-lock" for thread in threading.enumerate())

    result = run.archive(installation.config, run.Options(), client=installation.client, step=take_over)
    assert any("took over" in note for note in others[0]["notes"])
    assert others[1]["summary"]["archived"] == 1
    assert "another run took it over" in result["failed"]["a/20240101_000000"]
    assert result["crawls"]["b/20240101_000000"]["reason"] == "stopped"
    assert locks.LOCK_KEY in installation.listing(), "the lock of another was deleted"
    assert {name.partition("/")[0] for name in installation.listing()} == {"c", locks.LOCK_KEY}


@pytest.mark.usefixtures("crawl")
def test_a_run_that_cannot_renew_its_lock_stops(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "_read_data", lambda *_: monkeypatch.setattr(locks, "LEASE", -1))
    result = installation.run()
    assert any("could not be renewed" in error for error in result["failed"].values())
    assert set(installation.listing()) == {locks.LOCK_KEY}


# PostgreSQL


@pytest.fixture
def database(postgresql: PostgreSQL) -> dict[str, Any]:
    return {
        "host": postgresql.host,
        "port": postgresql.port,
        "name": postgresql.name,
        "user": postgresql.user,
        "password": postgresql.password,
        "passfile": None,
        "connect_timeout": 2,
    }


def with_database(installation: Installation, database: dict[str, Any]) -> Installation:
    installation.config = config.Config(**{**vars(installation.config), "database": database})
    return installation


def test_only_what_was_loaded_is_archived(
    installation: Installation, postgresql: PostgreSQL, database: dict[str, Any]
) -> None:
    for number, columns in enumerate(
        [
            {},
            {"sample": True},
            {"transform_type": "compile-releases"},
            {"store_end_at": None},
            {"deleted_at": "2024-02-01"},
        ]
    ):
        make_crawl(installation.root, f"faults_{number}", "20240101_000000")
        postgresql.add_collection(f"faults_{number}", "2024-01-01 00:00:00", **columns)
    make_crawl(installation.root, "faults_absent", "20240101_000000")
    result = with_database(installation, database).run()
    assert ids(result) == ["faults_0/20240101_000000"]
    assert {entry["reason"] for crawl_id, entry in result["crawls"].items() if crawl_id not in ids(result)} == {
        "not_loaded"
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"port": 1}, "refused"),
        ({"password": "wrong"}, "password authentication failed"),
        ({"name": "postgres"}, 'relation "collection" does not exist'),
        ({"name": "absent"}, 'database "absent" does not exist'),
    ],
)
def test_nothing_is_archived_while_the_database_cannot_be_asked(
    change: dict[str, Any], said: str, crawl: MadeCrawl, installation: Installation, database: dict[str, Any]
) -> None:
    with pytest.raises(KingfisherError, match=said) as error:
        with_database(installation, {**database, **change}).run()
    assert database["password"] not in str(error.value)
    assert "kingfisher_archive:database" in str(error.value)
    assert crawl.directory.exists()
    assert not installation.listing()


# Time


def test_a_clock_that_is_wrong_archives_nothing_that_is_being_written(
    installation: Installation, crawl: MadeCrawl
) -> None:
    age(crawl.directory, -1000)
    result = installation.run()
    assert result["crawls"][crawl.id]["reason"] == "recent"
    assert crawl.directory.exists()


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "America/St_Johns"])
def test_the_time_zone_changes_nothing(zone: str, installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    make_crawl(installation.root, "a", "20231231_233000")
    make_crawl(installation.root, "a", "20240101_003000")
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        result = installation.run()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert ids(result) == ["a/20231231_233000", "a/20240101_003000"]
    assert {name.rpartition("/")[0] for name in installation.listing()} == {"a/2023/12", "a/2024/01"}


def test_december_is_compared_with_january(installation: Installation) -> None:
    make_crawl(installation.root, "a", "20231231_000000", content="same")
    assert not installation.run()["failed"]
    make_crawl(installation.root, "a", "20240101_000000", content="same")
    result = installation.run()
    assert result["crawls"]["a/20240101_000000"]["reason"] == "2023_12_not_distinct"
    found = archives(installation.config, client=installation.client)
    assert list(found) == ["a/2023/12"]
    table = text(cover([("a", (2023, 12))], result["crawls"]))
    assert table.splitlines()[2] == "a                  A  d"


# Dry runs


@pytest.mark.usefixtures("crawl")
@pytest.mark.parametrize("state", ["new", "after a kill", "incomplete"])
def test_a_dry_run_writes_nothing(
    state: str, installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    if state != "new":
        assert not installation.run()["failed"]
        make_crawl(installation.root, "a", "20240102_000000", files=9, size=100_000)
        (installation.root / "data/a/.20230102_000000.deleting").mkdir()
        (installation.root / "data/a/.20230103_000000.checking").mkdir()
        installation.admin.create_multipart_upload(Bucket=installation.bucket, Key="a/2024/01/data.tar.lz4")
        installation.admin.put_object(Bucket=installation.bucket, Key="a/2024/01/replacing.json", Body=b"{}")
        installation.admin.put_object(Bucket=installation.bucket, Key=locks.LOCK_KEY, Body=b"{}")
    if state == "incomplete":
        spoil(installation, b"{}")
    before = stat_tree(tmp_path), installation.objects()
    result = installation.run(dry_run=True)
    prune(installation.config, 1, dry_run=True, client=installation.client)
    verify(installation.config, dry_run=True, deep=True, client=installation.client)
    assert stat_tree(tmp_path) == before[0]
    assert installation.objects() == before[1]
    assert any(entry["decision"] == "archive" for entry in result["crawls"].values())
    assert not result["failed"]


# The cache


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_cache_that_is_no_cache_costs_time_alone(
    content: bytes, installation: Installation, crawl: MadeCrawl
) -> None:
    installation.config.cache_file.write_bytes(content)
    assert ids(installation.run()) == [crawl.id, "other/20240101_000000"]
    assert caches.Cache(installation.config.cache_file).decision("x") is None


def test_a_crawl_whose_archive_cannot_be_deleted_locally_does_not_stop_later_ones(
    installation: Installation, crawl: MadeCrawl, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_crawl(installation.root, "a", "20240201_000000")

    def refuse(crawl_to_delete: Any, *given: Any) -> None:
        if crawl_to_delete.id == crawl.id:
            raise KingfisherError("it cannot be deleted")
        delete(crawl_to_delete, *given)

    delete = run.local.delete
    monkeypatch.setattr(run.local, "delete", refuse)
    for _ in range(2):
        result = installation.run()
        assert list(result["failed"]) == [crawl.id]
    assert not (installation.root / "data/a/20240201_000000").exists()
    assert "a/2024/02/metadata.json" in installation.listing()


def test_an_error_of_ours_in_one_crawl_does_not_stop_the_others(
    installation: Installation, crawl: MadeCrawl, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_log = plan.read_log
    logged: list[Any] = []
    monkeypatch.setattr(plan, "read_log", lambda path: 1 / 0 if "/a/" in str(path) else read_log(path))
    monkeypatch.setattr(crawls.log, "error", lambda *_, exc_info: logged.append(exc_info))
    result = installation.run()
    assert_failed(installation, result)
    assert "unexpected ZeroDivisionError" in result["failed"][crawl.id]
    assert isinstance(logged[0], ZeroDivisionError)


def test_a_large_log_takes_no_memory(crawl: MadeCrawl) -> None:
    assert crawl.log
    with crawl.log.open("ab") as file:
        file.truncate(200 << 20)  # zeros, and no line
    script = (
        "import sys; from kingfisher_salt.scrapy_log import read_begin, read_log; read_begin(sys.argv[1]); "
        "print(read_log(sys.argv[1]).files, open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
    )
    library = str(Path(plan.__file__).parents[2])
    found = subprocess.run(
        [sys.executable, "-c", script, crawl.log], env={"PYTHONPATH": library}, check=True, capture_output=True
    ).stdout.split()
    assert found[0] == b"3"
    assert int(found[1]) < 80_000  # KiB
