"""Crawls on disk: which there are, what is in them, and how they are packed and read back."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import tarfile
from datetime import datetime
from pathlib import Path
from typing import Any

import lz4.frame
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kingfisher_salt.archive import crawl as crawls
from kingfisher_salt.archive import unpack
from kingfisher_salt.archive.crawl import Crawl, find, show, survey, walk
from kingfisher_salt.archive.pack import Pack, checksum
from kingfisher_salt.errors import ChangedError, KingfisherError, StoreError

VERSION = datetime(2024, 1, 1)  # noqa: DTZ001 - Kingfisher Collect's names have no zone
NAMES = [b"new\nline", b"\xff\xfe", b"x" * 255, "é".encode() * 127, b"-rf", b" ", b"\x01\x7f", b"a\\b"]


@pytest.fixture
def crawl(tmp_path: Path) -> Crawl:
    """Return a crawl with files beside directories, in an order that is not that of ``os.walk``."""
    made = Crawl("a", VERSION, tmp_path)
    for path in ("a/1", "a/z/2", "b", "c/3", "c/empty/", "d", "scrapyd-job.txt", "c0/4"):
        if path.endswith("/"):
            (made.directory / path).mkdir(parents=True)
        else:
            (made.directory / path).parent.mkdir(parents=True, exist_ok=True)
            (made.directory / path).write_bytes(path.encode() * 100)
    return made


def by_os_walk(directory: Path) -> list[str]:
    """Return all files in the order of ``os.walk``, with directories and files sorted."""
    found = []
    for root, directories, files in os.walk(directory):
        directories.sort()
        found += [os.path.relpath(os.path.join(root, name), directory) for name in sorted(files)]  # noqa: PTH118
    return found


def packed(crawl: Crawl) -> tuple[bytes, Pack]:
    pack = Pack(crawl)
    return b"".join(pack), pack


def read(content: bytes) -> unpack.Contents:
    return unpack.read(lambda: io.BytesIO(content), "data.tar.lz4")


# What there is


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a/x", "no_timestamp"),
        ("a/20240101", "no_timestamp"),
        ("a/20240101_000000 ", "no_timestamp"),
        ("a/20241301_000000", "no_timestamp"),
        ("a/20240101_006000", "no_timestamp"),
        ("a/٢٠٢٤٠١٠١_000000", "no_timestamp"),
        ("a/.20241301_000000.deleting", "no_timestamp"),
        ("a_sample/20240101_000000", "sample"),
        (".hidden/20240101_000000", "no_source_name"),
        ("a b/20240101_000000", "no_source_name"),
        ("é/20240101_000000", "no_source_name"),
    ],
)
def test_what_is_not_considered(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir(parents=True)
    found = find(tmp_path)
    assert not found.crawls
    assert list(found.ignored.values()) == [reason]
    assert all(key.isascii() and key.isprintable() for key in found.ignored)


def test_crawls_are_listed_in_the_order_of_time(tmp_path: Path) -> None:
    for name in ("20240101_000000", "20231231_000000", ".20230101_000000.deleting", ".20220101_000000.checking"):
        (tmp_path / "a" / name).mkdir(parents=True)
    (tmp_path / "a/20200101_000000").write_text("")
    found = find(tmp_path)
    assert [crawl.name for crawl in found.crawls["a"]] == ["20231231_000000", "20240101_000000"]
    assert [crawl.name for crawl in found.hidden] == ["20230101_000000"]
    assert [crawl.name for crawl in found.aside] == ["20220101_000000"]
    assert found.ignored == {"a/20200101_000000": "no_timestamp"}
    assert not find(tmp_path, {"b"}).crawls


def test_a_data_directory_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(KingfisherError, match="correct kingfisher_archive:data_directory"):
        find(tmp_path / "absent")


def test_a_path_is_shown_on_one_line() -> None:
    assert show("a\n\x1b\udcffé") == r"a\n\x1b\\xff\xe9"


# What is in one


def test_a_walk_is_in_the_order_of_os_walk(crawl: Crawl) -> None:
    found = list(walk(crawl.directory))
    assert [node.path for node in found if node.is_file] == by_os_walk(crawl.directory)
    assert [node.path for node in found if node.is_directory] == ["a", "a/z", "c", "c/empty", "c0"]


def test_a_survey_counts_data_apart_from_the_job_file(crawl: Crawl) -> None:
    found = survey(crawl.directory)
    files = by_os_walk(crawl.directory)
    assert (found.files, found.data_files) == (len(files), len(files) - 1)
    assert found.bytes == sum((crawl.directory / name).stat().st_size for name in files)
    assert found.special is None


CHANGES = {
    "content": lambda d: (d / "b").write_bytes(b"x"),
    "time": lambda d: os.utime(d / "b", (1, 1)),
    "mode": lambda d: (d / "b").chmod(0o700),
    "name": lambda d: (d / "b").rename(d / "e"),
    "place": lambda d: (d / "b").rename(d / "c/b"),
    "absence": lambda d: (d / "b").unlink(),
    "copy": lambda d: (shutil.copy2(d / "b", d / "copy"), (d / "copy").rename(d / "b")),
    "file": lambda d: (d / "e").write_bytes(b""),
    "directory": lambda d: (d / "e").mkdir(),
    "symlink": lambda d: (d / "e").symlink_to("b"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_fingerprint_differs_once_anything_does(change: str, crawl: Crawl) -> None:
    before = survey(crawl.directory).fingerprint
    assert survey(crawl.directory).fingerprint == before
    CHANGES[change](crawl.directory)
    assert survey(crawl.directory).fingerprint != before


def test_a_fingerprint_tells_names_with_newlines_apart(tmp_path: Path) -> None:
    prints = set()
    for number, names in enumerate((["a\nb"], ["a", "b"], [b"\xff".decode(errors="surrogateescape")])):
        directory = tmp_path / str(number)
        directory.mkdir()
        for name in names:
            (directory / name).touch()
        prints.add(survey(directory).fingerprint)
    assert len(prints) == 3


@pytest.mark.parametrize("kind", ["symlink", "FIFO", "socket"])
def test_what_is_no_file_is_named_and_not_opened(kind: str, crawl: Crawl, monkeypatch: pytest.MonkeyPatch) -> None:
    path = crawl.directory / "c" / "special"
    if kind == "symlink":
        path.symlink_to("/etc/passwd")
    elif kind == "FIFO":
        os.mkfifo(path)
    else:
        monkeypatch.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    assert survey(crawl.directory).special == f"c/special is a {kind}"
    with pytest.raises(ChangedError, match="c/special is neither a file nor a directory"):
        packed(crawl)


def test_a_symlinked_directory_is_not_walked(crawl: Crawl, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(crawl.directory)
    with pytest.raises(ChangedError):
        list(walk(link))


def test_a_walk_leaves_no_file_open(crawl: Crawl) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    list(walk(crawl.directory))
    iterator = walk(crawl.directory)
    next(iterator)
    del iterator
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_directories_without_end_are_an_error(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * (crawls._MAX_DEPTH + 1))
    deep.mkdir(parents=True)
    with pytest.raises(ChangedError, match="deep"):
        survey(tmp_path)


# Packed, and read back


def test_the_checksum_is_that_of_the_walk(crawl: Crawl) -> None:
    digest = xxhash.xxh3_128(b"".join((crawl.directory / name).read_bytes() for name in by_os_walk(crawl.directory)))
    assert checksum(crawl).all == digest.hexdigest()
    assert packed(crawl)[1].packed.checksum.all == digest.hexdigest()


def test_an_archive_is_read_back(crawl: Crawl) -> None:
    content, pack = packed(crawl)
    found = read(content)
    assert found.crawl_id == "a/20240101_000000"
    assert (found.packed.files, found.packed.members) == (7, 13) == (pack.packed.files, pack.packed.members)
    assert found.packed.checksum.all == pack.packed.checksum.all
    assert found.packed.checksum.data == pack.packed.checksum.data != pack.packed.checksum.all
    assert found.stored.size == len(content)
    assert pack.fingerprint == survey(crawl.directory).fingerprint


def test_the_same_crawl_gives_the_same_bytes(crawl: Crawl) -> None:
    assert packed(crawl)[0] == packed(crawl)[0]


def test_an_archive_is_read_by_everybody(crawl: Crawl, tmp_path: Path) -> None:
    (crawl.directory / "large").write_bytes(os.urandom(6_000_000))
    for name in NAMES:
        with open(os.path.join(os.fsencode(crawl.directory), name), "wb") as file:  # noqa: PTH118
            file.write(name)
    content, _ = packed(crawl)
    with tarfile.open(fileobj=io.BytesIO(lz4.frame.decompress(content))) as tar:
        tar.extractall(tmp_path / "python", **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # type: ignore[arg-type] # noqa: S202
    assert_same(tmp_path / "python/a/20240101_000000", crawl.directory)
    if shutil.which("lz4") and shutil.which("tar"):
        (tmp_path / "data.tar.lz4").write_bytes(content)
        (tmp_path / "tar").mkdir()
        subprocess.run(["lz4", "-q", "-d", "data.tar.lz4", "data.tar"], cwd=tmp_path, check=True)
        listed = subprocess.run(["tar", "-xvf", "../data.tar"], cwd=tmp_path / "tar", check=True, capture_output=True)
        assert not listed.stderr
        assert_same(tmp_path / "tar/a/20240101_000000", crawl.directory)


def assert_same(one: Path, other: Path) -> None:
    assert by_os_walk(one) == by_os_walk(other)
    for name in by_os_walk(other):
        assert (one / name).read_bytes() == (other / name).read_bytes()
        assert int((one / name).stat().st_mtime) == int((other / name).stat().st_mtime)


def old_archive(crawl: Crawl, prefix: str, tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    """Return an archive as kingfisher-archive makes it: depth first, files and directories sorted together."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tar_format) as tar:
        tar.add(crawl.directory, f"{prefix}{crawl.id}")
    compressed: bytes = lz4.frame.compress(content.getvalue())
    return compressed


@pytest.mark.parametrize("prefix", ["", "/home/ocdskfs/scrapyd/data/", "scrapyd/data/20200101_000000/x/", "./"])
@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["PAX", "GNU"])
def test_old_archives_have_the_checksum_of_the_walk(
    prefix: str, tar_format: int, crawl: Crawl, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        with open(os.path.join(os.fsencode(crawl.directory), b"a", name), "wb") as file:  # noqa: PTH118
            file.write(name)
    for remembered in (0, 1 << 16):
        monkeypatch.setattr(unpack, "_REMEMBERED", remembered)
        found = read(old_archive(crawl, prefix, tar_format))
        assert found.crawl_id == crawl.id
        assert found.packed.checksum.all == checksum(crawl).all
        assert found.packed.checksum.data == checksum(crawl).data
        assert found.packed.files == len(by_os_walk(crawl.directory))


name = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda text: text not in {".", ".."} and len(text.encode()) < 255
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tree=st.recursive(
        st.binary(max_size=40), lambda below: st.dictionaries(name, below, max_size=4), max_leaves=12
    ).filter(lambda tree: isinstance(tree, dict))
)
def test_any_tree_is_packed_and_read_back(tree: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    crawl = Crawl("a", VERSION, tmp_path_factory.mktemp("tree"))
    write(crawl.directory, tree)
    content, pack = packed(crawl)
    assert read(content).packed.checksum.all == pack.packed.checksum.all
    assert read(old_archive(crawl, "x/")).packed.checksum.all == pack.packed.checksum.all


def write(path: Path, tree: Any) -> None:
    if isinstance(tree, bytes):
        path.write_bytes(tree)
        return
    path.mkdir(parents=True)
    for child, below in tree.items():
        write(path / child, below)


@pytest.mark.parametrize("name", ["x", "/x", "../a/20240101_000000/x", "a/20240101_000000/../x", "a/2024/x", ""])
def test_members_outside_a_crawl_are_damage(name: str) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(StoreError, match="outside SOURCE"):
        read(lz4.frame.compress(content.getvalue()))


def test_every_truncation_is_noticed(crawl: Crawl) -> None:
    content, _ = packed(crawl)
    for size in range(0, len(content), 7):
        with pytest.raises(StoreError):
            read(content[:size])
