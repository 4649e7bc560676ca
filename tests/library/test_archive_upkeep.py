"""Verify, restore and prune, when archives or crawls are not what they should be."""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lz4.frame
import pytest
from kingfisher_salt.archive.cache import Cache
from kingfisher_salt.archive.prune import prune
from kingfisher_salt.archive.restore import restore
from kingfisher_salt.archive.verify import verify
from kingfisher_salt.errors import KingfisherError

from tests.crawls import MadeCrawl, age, make_crawl
from tests.installation import Installation, s3_settings, stat_tree
from tests.services.seaweedfs import SeaweedFS

PREFIX = "a/2024/01"


@pytest.fixture
def installation(tmp_path: Path, seaweedfs: SeaweedFS, bucket: str) -> Installation:
    admin = seaweedfs.client()
    return Installation(tmp_path, bucket, s3_settings(seaweedfs), admin, seaweedfs.client("archive"))


@pytest.fixture
def archived(installation: Installation) -> dict[str, Any]:
    """Return the objects of an archive of a crawl of 300 kB."""
    make_crawl(installation.root, "a", "20240101_000000", files=3, size=100_000)
    assert not installation.run()["failed"]
    return {name.rpartition("/")[2]: found[0] for name, found in installation.objects().items()}


def put(installation: Installation, name: str, content: bytes) -> None:
    installation.admin.put_object(
        Bucket=installation.bucket,
        Key=f"{PREFIX}/{name}",
        Body=content,
        Metadata={"kingfisher-crawl": "a/20240101_000000"},
    )


def describe(installation: Installation, **changes: Any) -> None:
    key = f"{PREFIX}/metadata.json"
    document = json.loads(installation.admin.get_object(Bucket=installation.bucket, Key=key)["Body"].read())
    put(installation, "metadata.json", json.dumps({**document, **changes}).encode())


def flip(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :]


# Verify

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "no LZ4": lambda content: b"x" * len(content),
    "cut in its head": lambda content: content[:5],
    "cut in its midst": lambda content: content[: len(content) // 2],
    "cut at its end": lambda content: content[:-6],
    "flipped in its head": lambda content: flip(content, 4),
    "flipped in its midst": lambda content: flip(content, len(content) // 2),
    "longer": lambda content: content + b"more",
    "no tar": lambda _: lz4.frame.compress(b"x" * 100_000),
    "an empty tar": lambda _: lz4.frame.compress(bytes(10_240)),
}


# The old tool did not say how long its archives are, so what follows the end of one cannot be told from it.
DAMAGES = [(described, kind) for described in (True, False) for kind in DAMAGE if described or kind != "longer"]


@pytest.mark.parametrize(
    ("described", "kind"), DAMAGES, ids=[f"{'ours' if ours else 'old'}-{kind}" for ours, kind in DAMAGES]
)
def test_damaged_data_is_found_and_not_restored(
    described: bool, kind: str, archived: dict[str, Any], installation: Installation, tmp_path: Path
) -> None:
    if not described:
        describe(installation, data=None, log=None)
    put(installation, "data.tar.lz4", DAMAGE[kind](archived["data.tar.lz4"]))
    if described:
        assert list(verify(installation.config, client=installation.client)["failed"]) == [PREFIX]
    assert list(verify(installation.config, deep=True, client=installation.client)["failed"]) == [PREFIX]
    with pytest.raises(KingfisherError):
        restore(installation.config, "a", "2024-01", tmp_path / "target", client=installation.client)
    assert not [path for path in (tmp_path / "target").rglob("*") if path.is_file()]


@pytest.mark.usefixtures("archived")
@pytest.mark.parametrize(
    "changes",
    [
        {"bytes": 1},
        {"checksum": "0" * 32},
        {"id": "a/20240102_000000"},
        {"data": {"size": 1, "crc32": "00000000", "members": 1}},
        {"log": {"size": 1, "crc32": "00000000"}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_metadata_json_that_describes_something_else_is_found(
    changes: dict[str, Any], installation: Installation
) -> None:
    describe(installation, **changes)
    assert list(verify(installation.config, deep=True, client=installation.client)["failed"]) == [PREFIX]


@pytest.mark.parametrize("data", [None, [], "x", 1, {}, {"members": None}, {"size": "1", "crc32": 1}])
def test_a_metadata_json_with_something_else_under_our_keys_is_completed(
    data: Any, archived: dict[str, Any], installation: Installation
) -> None:
    describe(installation, data=data)
    assert not verify(installation.config, client=installation.client)["failed"]
    assert not verify(installation.config, deep=True, client=installation.client)["failed"]
    document = json.loads(installation.objects()[f"{PREFIX}/metadata.json"][0])
    assert document == json.loads(archived["metadata.json"])


@pytest.mark.usefixtures("archived")
@pytest.mark.parametrize("name", ["data.tar.lz4", "scrapy.log"])
def test_a_missing_object_is_found(name: str, installation: Installation) -> None:
    installation.admin.delete_object(Bucket=installation.bucket, Key=f"{PREFIX}/{name}")
    result = verify(installation.config, client=installation.client)
    assert f"{name} is not there" in result["failed"][PREFIX]


def test_an_archive_without_metadata_json_is_completed_if_it_is_not_ours(
    archived: dict[str, Any], installation: Installation
) -> None:
    for name in ("data.tar.lz4", "scrapy.log"):
        installation.admin.put_object(Bucket=installation.bucket, Key=f"{PREFIX}/{name}", Body=archived[name])
    installation.admin.delete_object(Bucket=installation.bucket, Key=f"{PREFIX}/metadata.json")
    assert "deep=True" in verify(installation.config, client=installation.client)["failed"][PREFIX]
    assert verify(installation.config, deep=True, client=installation.client)["summary"]["completed"] == 1
    assert json.loads(installation.objects()[f"{PREFIX}/metadata.json"][0]) == json.loads(archived["metadata.json"])


def test_one_damaged_archive_does_not_stop_verification(archived: dict[str, Any], installation: Installation) -> None:
    make_crawl(installation.root, "b", "20240101_000000")
    assert not installation.run()["failed"]
    put(installation, "data.tar.lz4", DAMAGE["flipped in its midst"](archived["data.tar.lz4"]))
    result = verify(installation.config, deep=True, client=installation.client)
    assert list(result["failed"]) == [PREFIX]
    assert list(result["archives"]) == ["b/2024/01"]


# Restore


def test_a_restored_crawl_is_what_it_was(installation: Installation, tmp_path: Path) -> None:
    crawl = make_crawl(installation.root, "a", "20240101_000000", job_file=True)
    assert crawl.log
    files = {path.relative_to(crawl.directory): path.stat().st_mtime // 1 for path in crawl.directory.rglob("*")}
    log = crawl.log.read_bytes()
    assert not installation.run()["failed"]
    target = tmp_path / "target"
    dry = restore(installation.config, "a", "2024-01", target, dry_run=True, client=installation.client)
    assert not target.exists()
    result = restore(installation.config, "a", "2024-01", target, client=installation.client)
    assert result["directory"] == dry["directory"] == str(target / "a/20240101_000000")
    directory = Path(result["directory"])
    assert {path.relative_to(directory): path.stat().st_mtime for path in directory.rglob("*")} == files
    assert Path(result["log"]).read_bytes() == log
    assert sorted(path.name for path in (target / "a").iterdir()) == ["20240101_000000", "20240101_000000.log"]


@pytest.mark.usefixtures("archived")
@pytest.mark.parametrize(
    ("source", "month", "target", "said"),
    [
        ("a", "2024-1", "target", "must be like 2024-05"),
        ("a", "2024-13", "target", "must be like 2024-05"),
        ("a", "2024-02", "target", "there are 2024-01"),
        ("absent", "2024-01", "target", "is not archived"),
        ("../a", "2024-01", "target", "is not archived"),
        ("a", "2024-01", "data", "archived again"),
        ("a", "2024-01", "data/a", "archived again"),
        ("a", "2024-01", "logs/../data", "archived again"),
        ("a", "2024-01", "link", "archived again"),
        ("a", "2024-01", "around", "archived again"),
        ("a", "2024-01", "file", "(?i)not a directory"),
    ],
)
def test_a_restoration_is_refused(source: str, month: str, target: str, said: str, installation: Installation) -> None:
    (installation.root / "link").symlink_to(installation.root / "data")
    (installation.root / "around").mkdir()
    (installation.root / "around/a").symlink_to(installation.root / "data/a")
    (installation.root / "file").write_text("")
    before = stat_tree(installation.root)
    with pytest.raises(KingfisherError, match=said):
        restore(installation.config, source, month, installation.root / target, client=installation.client)
    assert stat_tree(installation.root) == before


def test_a_restoration_to_a_relative_path_is_refused(installation: Installation) -> None:
    make_crawl(installation.root, "a", "20240101_000000")
    installation.run()
    with pytest.raises(KingfisherError, match="must be an absolute path"):
        restore(installation.config, "a", "2024-01", Path("target"), client=installation.client)


@pytest.mark.usefixtures("archived")
@pytest.mark.parametrize("name", ["20240101_000000", "20240101_000000.log"])
def test_nothing_is_overwritten(name: str, installation: Installation, tmp_path: Path) -> None:
    there = tmp_path / "target/a" / name
    there.parent.mkdir(parents=True)
    there.write_text("mine")
    with pytest.raises(KingfisherError, match="is not overwritten"):
        restore(installation.config, "a", "2024-01", tmp_path / "target", client=installation.client)
    assert there.read_text() == "mine"


@pytest.mark.parametrize("number", range(1, 7))
def test_an_interrupted_restoration_leaves_no_half_directory(
    number: int, archived: dict[str, Any], installation: Installation, tmp_path: Path, seaweedfs: SeaweedFS
) -> None:
    """It is killed at the n-th time that a file is made, or renamed."""
    client = seaweedfs.client("archive")
    child = os.fork()
    if child == 0:
        import sys

        acts = [0]

        def count(event: str, given: Any) -> None:
            if event == "os.rename" or (event == "open" and "restoring" in str(given[0]) and given[2] & os.O_CREAT):
                acts[0] += 1
                if acts[0] == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            restore(installation.config, "a", "2024-01", tmp_path / "target", client=client)
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert not (tmp_path / "target/a/20240101_000000").exists()
    result = restore(installation.config, "a", "2024-01", tmp_path / "target", client=installation.client)
    assert len(list(Path(result["directory"]).rglob("*.json"))) == 3
    assert Path(result["log"]).read_bytes() == archived["scrapy.log"]
    assert len(list((tmp_path / "target/a").iterdir())) == 2


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", content: bytes = b"x", **more: Any) -> Any:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    for key, value in more.items():
        setattr(info, key, value)
    return info, content


CRAWL = "a/20240101_000000"
HOSTILE = {
    "parent": [member(f"{CRAWL}/../../../escaped")],
    "parent first": [member(f"../{CRAWL}/escaped"), member("../../escaped")],
    "absolute": [member("/escaped")],
    "another crawl": [member(f"{CRAWL}/1"), member("b/20240101_000000/escaped")],
    "symlink": [member(f"{CRAWL}/l", tarfile.SYMTYPE, "/tmp"), member(f"{CRAWL}/l/escaped")],
    "hard link": [member(f"{CRAWL}/l", tarfile.LNKTYPE, "/etc/passwd")],
    "device": [member(f"{CRAWL}/d", tarfile.CHRTYPE, devmajor=1, devminor=5)],
    "FIFO": [member(f"{CRAWL}/f", tarfile.FIFOTYPE)],
    "file in place of the directory": [member(CRAWL)],
    "file twice": [member(f"{CRAWL}/1"), member(f"{CRAWL}/1")],
    "file as a directory": [member(f"{CRAWL}/1"), member(f"{CRAWL}/1/2")],
    "absurd time": [member(f"{CRAWL}/1", mtime=1 << 62)],
    "more bytes than described": [member(f"{CRAWL}/1", content=b"x" * 5_000_000)],
    "sparse": [member(f"{CRAWL}/1", tarfile.GNUTYPE_SPARSE)],
}


@pytest.mark.usefixtures("archived")
@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["GNU", "PAX"])
def test_a_hostile_archive_writes_nothing_outside(
    kind: str, tar_format: int, installation: Installation, tmp_path: Path
) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tar_format) as tar:
        for info, data in HOSTILE[kind]:
            tar.addfile(info, io.BytesIO(data))
    put(installation, "data.tar.lz4", lz4.frame.compress(content.getvalue()))
    target = tmp_path / "one/two/three/target"
    target.mkdir(parents=True)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(KingfisherError):
        restore(installation.config, "a", "2024-01", target, client=installation.client)
    assert set(tmp_path.rglob("*")) - before <= {target / "a"}
    assert not Path("/escaped").exists()
    assert list(verify(installation.config, deep=True, client=installation.client)["failed"]) == [PREFIX]


@pytest.mark.usefixtures("archived")
@pytest.mark.parametrize("crawl_id", ["../b/20240101_000000", "a/../../20240101_000000", "", "/etc/20240101_000000"])
def test_an_id_that_leads_elsewhere_is_refused(crawl_id: str, installation: Installation, tmp_path: Path) -> None:
    describe(installation, id=crawl_id)
    with pytest.raises(KingfisherError, match="is no SOURCE/YYYYMMDD_HHMMSS"):
        restore(installation.config, "a", "2024-01", tmp_path / "target", client=installation.client)


# Prune


def pruned(installation: Installation, **options: Any) -> dict[str, Any]:
    return prune(installation.config, 20, client=installation.client, **options)


@pytest.fixture
def kept(installation: Installation) -> MadeCrawl:
    """Return a crawl that is kept, because another of its month is archived."""
    make_crawl(installation.root, "a", "20240101_000000")
    crawl = make_crawl(installation.root, "a", "20240102_000000")
    result = installation.run()
    assert result["crawls"][crawl.id]["reason"] == "same_period"
    return crawl


def test_a_kept_crawl_is_pruned_with_its_log(kept: MadeCrawl, installation: Installation) -> None:
    before = stat_tree(installation.root)
    assert list(pruned(installation, dry_run=True)["would_delete"]) == [kept.id]
    assert stat_tree(installation.root) == before
    assert list(pruned(installation)["deleted"]) == [kept.id]
    assert installation.disk() == ["data/a", "logs/a"]


@pytest.mark.parametrize(
    ("options", "reason", "allowed"),
    [
        ({"files": 0}, "no_data_files", True),
        ({"finish_reason": "shutdown"}, "not_finished", True),
        ({"arguments": {"from_date": "2024-01-01"}}, "not_complete", True),
        ({"errors": 9}, "not_clean_enough", True),
        ({"log": False}, "no_log_file", False),
        ({"age_days": 15}, None, False),
        ({"age_days": 1}, "recent", False),
    ],
)
def test_a_rejected_crawl_is_pruned_if_only_it_can_be_the_reason(
    options: dict[str, Any], reason: str | None, allowed: bool, installation: Installation
) -> None:
    crawl = make_crawl(installation.root, "a", "20240101_000000", **options)
    result = installation.run(dry_run=reason is None)
    if reason:
        assert result["crawls"][crawl.id]["reason"] == reason
    found = pruned(installation)
    assert list(found["deleted"]) == ([crawl.id] if allowed else [])
    assert list(found["kept"]) == ([] if allowed else [crawl.id])
    assert crawl.directory.exists() != allowed
    assert not crawl.log or crawl.log.exists() != allowed


OBSTACLES: dict[str, Callable[[Installation, MadeCrawl], object]] = {
    "no decision": lambda installation, _: installation.config.cache_file.unlink(),
    "it changed": lambda _, crawl: (crawl.directory.joinpath("new.json").write_text("{}"), age(crawl.directory, 30)),
    "its archive is gone": lambda installation, _: installation.admin.delete_object(
        Bucket=installation.bucket, Key=f"{PREFIX}/metadata.json"
    ),
    "another archive": lambda installation, _: describe(installation, id="a/20240101_000001"),
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_an_obstacle_keeps_a_crawl(obstacle: str, kept: MadeCrawl, installation: Installation) -> None:
    OBSTACLES[obstacle](installation, kept)
    result = pruned(installation)
    assert list(result["kept"]) == [kept.id] and not result["deleted"] and not result["failed"]
    assert kept.directory.exists() and kept.log and kept.log.exists()


def test_a_superseded_crawl_is_kept_until_the_better_one_is_archived(
    installation: Installation, seaweedfs: SeaweedFS
) -> None:
    make_crawl(installation.root, "a", "20240101_000000", files=2)
    installation.run()
    good = make_crawl(installation.root, "a", "20240102_000000", files=3)
    better = make_crawl(installation.root, "a", "20240103_000000", files=9)
    limited = seaweedfs.client("limited")
    client, installation.client = installation.client, limited
    assert better.id in installation.run()["failed"]
    installation.client = client
    assert good.id not in pruned(installation)["deleted"]
    assert not installation.run()["failed"]
    installation.run()
    result = pruned(installation)
    assert not good.directory.exists() or result["kept"]
    assert json.loads(installation.objects()[f"{PREFIX}/metadata.json"][0])["id"] == better.id


def test_a_crawl_whose_own_archive_has_other_content_is_kept(installation: Installation) -> None:
    first = make_crawl(installation.root, "a", "20240101_000000")
    assert not installation.run()["failed"]
    first.directory.rmdir() if first.directory.exists() else None
    again = make_crawl(installation.root, "a", "20240101_000000", files=9)
    installation.run()
    assert list(pruned(installation)["kept"]) == [again.id]
    assert again.directory.exists()


def test_a_log_that_changed_since_the_decision_is_kept(kept: MadeCrawl, installation: Installation) -> None:
    assert kept.log
    with kept.log.open("a") as file:
        file.write("more\n")
    assert list(pruned(installation)["deleted"]) == [kept.id]
    assert kept.log.read_text().endswith("more\n")


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("number", range(1, 8))
def test_an_interrupted_pruning_is_finished_by_the_next_run(
    number: int, installation: Installation, seaweedfs: SeaweedFS
) -> None:
    client = seaweedfs.client("archive")
    child = os.fork()
    if child == 0:
        import sys

        acts = [0]

        def count(event: str, _: Any) -> None:
            if event in {"os.remove", "os.rename", "os.rmdir"}:
                acts[0] += 1
                if acts[0] == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            prune(installation.config, 20, client=client)
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert not installation.run()["failed"]
    pruned(installation)
    assert installation.disk() == ["data/a", "logs/a"]
    assert Cache(installation.config.cache_file, read_only=True).decision("x") is None
