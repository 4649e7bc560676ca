"""metadata.json, settings, locks, cache and coverage."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from kingfisher_salt.archive import config, locks, metadata
from kingfisher_salt.archive.bucket import Bucket
from kingfisher_salt.archive.cache import Cache, Recorded
from kingfisher_salt.archive.checksum import Checksum
from kingfisher_salt.archive.coverage import cover, page, text
from kingfisher_salt.errors import KingfisherError, LockedError, SettingsError
from kingfisher_salt.settings import fail

from tests.memory_s3 import MemoryS3, refusal

# metadata.json


def document() -> dict[str, Any]:
    checksum = Checksum()
    checksum.update("1.json", b"data")
    checksum.update("scrapyd-job.txt", b"job")
    packed = metadata.Packed(2, 3, checksum)
    content = metadata.dump(
        "a/20240101_000000", packed, 5, 6, metadata.Stored(10, "01234567"), metadata.Stored(20, "89abcdef")
    )
    return json.loads(content)  # type: ignore[no-any-return]


def test_metadata_json_keeps_the_keys_of_kingfisher_archive() -> None:
    found = document()
    assert list(found)[:9] == [
        "id", "source_id", "data_version", "bytes", "checksum", "files_count", "errors_count", "reject_reason",
        "archived",
    ]  # fmt: skip
    assert not metadata.missing(found)
    assert None not in found.values()
    assert (found["bytes"], found["data_bytes"], found["files_count"], found["errors_count"]) == (7, 4, 5, 6)
    assert metadata.stored(found, "data") == metadata.Stored(10, "01234567")


@pytest.mark.parametrize("key", metadata.KEYS)
@pytest.mark.parametrize("value", [None, [], {}, "absent"])
def test_what_is_null_or_of_another_type_is_missing(key: str, value: Any) -> None:
    found = document()
    if value == "absent":
        del found[key]
    else:
        found[key] = value
    assert metadata.missing(found) == [key]


def test_true_is_no_number() -> None:
    assert metadata.missing(document() | {"bytes": True}) == ["bytes"]


@pytest.mark.parametrize("content", [b"", b"[]", b"1", b"null", b"\xff", b"{", b"[" * 100_000, b"NaN"])
def test_what_is_no_json_object_is_nothing(content: bytes) -> None:
    assert metadata.parse(content) is None


# Settings


@pytest.fixture
def pillar(tmp_path: Path) -> dict[str, Any]:
    for name in ("data", "logs"):
        (tmp_path / name).mkdir()
    return {
        "bucket": "b",
        "data_directory": str(tmp_path / "data"),
        "logs_directory": str(tmp_path / "logs"),
        "cache_file": str(tmp_path / "cache.sqlite"),
    }


def test_defaults(pillar: dict[str, Any]) -> None:
    loaded, problems = config.load(pillar, {})
    assert not problems and loaded
    assert (loaded.min_age_days, loaded.storage_class, loaded.database) == (7, "STANDARD_IA", None)


def test_arguments_win(pillar: dict[str, Any]) -> None:
    below, above = {"region": "one", "attempts": 3}, {"region": "two"}
    loaded, _ = config.load({**pillar, "s3": below}, {"bucket": "c", "s3": above})
    assert loaded
    assert (loaded.bucket, loaded.s3["region"], loaded.s3["attempts"]) == ("c", "two", 3)


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"bucket": None}, "kingfisher_archive:bucket is not set"),
        ({"bucket": 1}, "kingfisher_archive:bucket must be text, not 1"),
        ({"buckett": "b"}, "kingfisher_archive:buckett is not a setting: did you mean bucket?"),
        ({"data_directory": "data"}, "kingfisher_archive:data_directory must be an absolute path, not 'data'"),
        ({"data_directory": "/absent"}, "kingfisher_archive:data_directory must be a directory"),
        ({"logs_directory": "/etc/passwd"}, "kingfisher_archive:logs_directory must be a directory"),
        ({"cache_file": "/"}, "kingfisher_archive:cache_file must be a file"),
        ({"lock_file": "/"}, "kingfisher_archive:lock_file must be a file"),
        ({"min_age_days": -1}, "kingfisher_archive:min_age_days must be 0 or more, not -1"),
        ({"min_age_days": float("nan")}, "kingfisher_archive:min_age_days must be 0 or more"),
        ({"min_age_days": "7"}, "kingfisher_archive:min_age_days must be a number, not '7'"),
        ({"workers": 0}, "kingfisher_archive:workers must be greater than 0"),
        ({"workers": True}, "kingfisher_archive:workers must be a whole number, not True"),
        ({"s3": "x"}, "kingfisher_archive:s3 must be a mapping, not 'x'"),
        ({"s3": ["x"]}, "kingfisher_archive:s3 must be a mapping"),
        ({"s3": {"endpoint": "x"}}, "kingfisher_archive:s3:endpoint is not a setting: did you mean endpoint_url?"),
        ({"s3": {"secret_access_key": 12345}}, "kingfisher_archive:s3:secret_access_key must be text"),
        ({"s3": {"credentials_file": "/absent"}}, "kingfisher_archive:s3:credentials_file must be a file"),
        ({"database": {"port": "5432"}}, "kingfisher_archive:database:port must be a whole number, not '5432'"),
        ({"database": {"passfile": "/absent"}}, "kingfisher_archive:database:passfile must be a file"),
        ({"database": []}, "kingfisher_archive:database must be a mapping, not []"),
        ({"schedule": {"by": "at"}}, "kingfisher_archive:schedule:by must be one of cron, salt, not 'at'"),
        ({"log_level": "loud"}, "kingfisher_archive:log_level must be one of"),
        ({1: 2}, "kingfisher_archive:1 is not a setting"),
    ],
)
def test_what_is_wrong_is_named(wrong: dict[Any, Any], problem: str, pillar: dict[str, Any]) -> None:
    loaded, problems = config.load({**pillar, **wrong}, {})
    assert loaded is None
    assert len(problems) == 1
    assert problems[0].startswith(problem)
    assert "12345" not in problems[0]


def test_all_that_is_wrong_is_in_one_message() -> None:
    _, problems = config.load({"x": 1, "workers": "2"}, {"y": 2, "s3": {"secret_access_key": "hidden"}})
    with pytest.raises(SettingsError) as error:
        fail(problems)
    lines = str(error.value).splitlines()
    assert lines[0] == f"{len(problems)} problems in the settings:"
    assert len(lines) == len(problems) + 1
    for part in ("kingfisher_archive:x", "kingfisher_archive:workers", "argument y", "bucket is not set", "a secret"):
        assert part in str(error.value)
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize("given", [None, [], "text", 1])
def test_a_pillar_that_is_no_mapping_is_one_problem_more(given: Any) -> None:
    _, problems = config.load(given, {})
    assert problems[0].startswith("kingfisher_archive must be a mapping")


@pytest.mark.parametrize(
    "s3", [{"endpoint_url": "no URL"}, {"profile": "absent"}, {"endpoint_url": "http://127.0.0.1:1", "attempts": 1}]
)
def test_a_store_that_cannot_be_used_is_a_problem_too(
    s3: dict[str, Any], pillar: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    with pytest.raises(SettingsError) as error:
        config.load_and_check({**pillar, "workers": 0, "s3": s3}, {})
    assert "kingfisher_archive:workers" in str(error.value)
    assert "kingfisher_archive:bucket" in str(error.value)


# Locks, with a clock of ours


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(locks, "time", clock)
    return clock


def silent_for(client: MemoryS3, seconds: float) -> None:
    client.objects[locks.LOCK_KEY]["LastModified"] = datetime.now(timezone.utc) - timedelta(seconds=seconds)


def lock(client: MemoryS3, lock_file: str) -> locks.BucketLock:
    return locks.BucketLock(Bucket(client, "b"), Path(lock_file))  # type: ignore[arg-type]


def test_a_lock_of_another_is_respected_until_it_is_silent_for_long() -> None:
    client = MemoryS3()
    with lock(client, "/one"):
        silent_for(client, locks.LEASE - 10)
        with pytest.raises(LockedError, match=r"process .* since"), lock(client, "/two"):
            pass
        silent_for(client, locks.LEASE + 10)
        with lock(client, "/two") as second:
            assert second.taken_over and "silent for" in second.taken_over
        assert not client.objects
    assert not client.objects


def test_a_lock_of_ours_that_a_kill_left_is_taken_over_at_once() -> None:
    client = MemoryS3()
    lock(client, "/one")._acquire()
    with lock(client, "/one") as second:
        assert second.taken_over
    assert not client.objects


def test_the_lock_of_another_is_not_deleted() -> None:
    client = MemoryS3()
    with lock(client, "/one"):
        silent_for(client, locks.LEASE + 10)
        lock(client, "/two")._acquire()
    assert json.loads(client.objects[locks.LOCK_KEY]["Body"])["lock_file"] == "/two"


def test_a_lock_that_is_not_renewed_for_long_is_lost(clock: Clock) -> None:
    client = MemoryS3()
    with lock(client, "/one") as held:
        clock.now += locks.LEASE / 2 - 1
        held.check()
        clock.now += 2
        for _ in range(2):
            with pytest.raises(LockedError, match="could not be renewed for too long"):
                held.check()
    assert client.objects


@pytest.mark.parametrize("code", [("PreconditionFailed", 412), ("NoSuchKey", 404)])
def test_a_lock_that_is_taken_over_is_lost(code: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    client = MemoryS3()
    monkeypatch.setattr(locks, "RENEW", 0.001)
    with lock(client, "/one") as held:
        client.before = lambda *_: (_ for _ in ()).throw(refusal(*code))  # type: ignore[assignment]
        held._thread.join()
        with pytest.raises(LockedError, match="another run took it over"):
            held.check()
    client.before = lambda *_: None


def test_a_store_that_is_ill_for_a_while_does_not_lose_the_lock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    client = MemoryS3()
    held = lock(client, "/one")
    held._acquire()
    waits = iter([False] * 5 + [True])
    monkeypatch.setattr(held._stop, "wait", lambda _: next(waits))
    ill = iter([True] * 4 + [False])

    def before(*_: Any) -> None:
        clock.now += 60
        if next(ill):
            raise refusal("InternalError", 500)

    client.before = before
    held._renewed = clock.now
    held._renew()
    assert held._renewed == 1000 + 4 * 60, "what counts is when it was asked for, not when the answer came"
    held.check()


def test_a_store_whose_conditions_contradict_one_another_is_given_up() -> None:
    client = MemoryS3()

    def before(operation: str, _: str) -> None:
        raise refusal("PreconditionFailed", 412) if operation == "put_object" else refusal("NoSuchKey", 404)

    client.before = before
    with pytest.raises(LockedError), lock(client, "/one"):
        pass


def test_a_lock_file_is_private_and_not_reached_by_a_symlink(tmp_path: Path) -> None:
    with locks.host_lock(tmp_path / "new" / "lock"):
        assert stat.S_IMODE((tmp_path / "new" / "lock").stat().st_mode) == 0o600
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    link = locks.host_lock(tmp_path / "link")
    with pytest.raises(KingfisherError, match="correct kingfisher_archive:lock_file"), link:
        pass
    assert not (tmp_path / "victim").exists()


# The cache

RECORDED = Recorded("keep", "same_period", "a/1", "f", "l.log", "lf")


def test_what_is_remembered_is_trusted_only_while_nothing_changed(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "new" / "cache")
    cache.remember_facts("a/1", "f", "l", "lf", {"x": 1})
    cache.record_decision("a/1", RECORDED)
    cache.remember_metadata("a/2024/01", "e", {"y": 2})
    cache.close()
    assert stat.S_IMODE((tmp_path / "new" / "cache").stat().st_mode) == 0o600
    cache = Cache(tmp_path / "new" / "cache", read_only=True)
    assert cache.facts("a/1", "f", "l", "lf") == {"x": 1}
    for changed in (("b/1", "f", "l", "lf"), ("a/1", "g", "l", "lf"), ("a/1", "f", "m", "lf"), ("a/1", "f", "l", "x")):
        assert cache.facts(*changed) is None
    assert cache.decision("a/1") == RECORDED
    assert cache.metadata("a/2024/01", "e") == {"y": 2}
    assert cache.metadata("a/2024/01", "f") is None
    cache.close()


def test_a_cache_to_read_is_not_created(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", read_only=True)
    cache.record_decision("a/1", RECORDED)
    assert cache.decision("a/1") is None
    cache.close()
    assert not list(tmp_path.iterdir())


def test_a_cache_that_is_no_database_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("mine, and no database at all")
    cache = Cache(tmp_path / "cache")
    cache.record_decision("a/1", RECORDED)
    assert cache.decision("a/1") == RECORDED
    cache.close()
    assert (tmp_path / "cache.unreadable").read_text().startswith("mine")


@pytest.mark.parametrize("read_only", [True, False])
def test_a_cache_that_is_damaged_inside_forgets(read_only: bool, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    for number in range(500):
        cache.record_decision(f"a/{number}", RECORDED)
    cache.close()
    content = bytearray((tmp_path / "cache").read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    (tmp_path / "cache").write_bytes(content)
    cache = Cache(tmp_path / "cache", read_only=read_only)
    for number in range(500):
        assert cache.decision(f"a/{number}") is None
        cache.record_decision(f"a/{number}", RECORDED)
        cache.forget(f"a/{number}")
    cache.close()


def test_a_row_that_is_no_json_is_forgotten(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    cache.remember_facts("a/1", "f", "l", "lf", {})
    cache.close()
    with sqlite3.connect(tmp_path / "cache") as connection:
        connection.execute("UPDATE crawl_facts SET facts = '{'")
    connection.close()
    assert Cache(tmp_path / "cache", read_only=True).facts("a/1", "f", "l", "lf") is None


def test_a_cache_that_may_not_grow_forgets(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    assert cache._connection
    cache._connection.execute("PRAGMA max_page_count = 10")
    for number in range(2000):
        cache.record_decision(f"a/{number}", Recorded("keep", "x" * 100, None, "f", "l", "lf"))
    cache.close()
    cache = Cache(tmp_path / "cache")
    cache.record_decision("a/0", RECORDED)
    assert cache.decision("a/0") == RECORDED
    cache.close()


def test_a_cache_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "cache", tmp_path):
        with pytest.raises(KingfisherError, match="correct kingfisher_archive:cache_file"):
            Cache(path)


# Coverage


def test_coverage_is_a_letter_a_month() -> None:
    crawls = {
        "b/20240115_000000": {"decision": "reject"},
        "b/20240301_000000": {"decision": "reject"},
        "b/20240302_000000": {"decision": "keep"},
        "a/20231201_000000": {"decision": "archive"},
    }
    coverage = cover([("a", (2023, 10)), ("a", (2023, 12))], crawls)
    assert text(coverage).splitlines() == [
        "        2023          2024",
        "source  JFMAMJJASOND  JFMAMJJASOND",
        "a                A.A",
        "b                     x.d",
        "A archived, d on disk only, x rejected, . missing",
    ]


def test_coverage_of_nothing() -> None:
    assert text(cover([], {})) == "There are neither crawls nor archives."
    assert "0 sources" in page(cover([], {}), "b", "now")


def test_a_page_shows_no_markup_of_others() -> None:
    found = page(cover([("<script>", (2024, 1))], {}), "<b>", '"now"')
    assert "<script>" not in found and "<b>" not in found
    assert "&lt;script&gt; 2024-01: archived" in found
