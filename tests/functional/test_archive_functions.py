"""The execution functions of the archive: right, wrong and dry."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.functional.conftest import Archive
from tests.services.postgresql import PostgreSQL

FUNCTIONS: list[tuple[str, tuple[str, ...]]] = [
    ("archive", ()),
    ("crawls", ()),
    ("archives", ()),
    ("coverage", ()),
    ("verify", ()),
    ("restore", ("freedonia", "2024-05", "/nowhere")),
    ("prune", (90,)),
]
ARCHIVE = ["data.tar.lz4", "metadata.json", "scrapy.log"]


def archived_keys(*prefixes: str) -> list[str]:
    return [f"{prefix}/{name}" for prefix in prefixes for name in ARCHIVE]


def content(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


# archive


def test_archive_moves_crawls_and_logs_to_the_bucket(archive: Archive) -> None:
    crawl = archive.make("freedonia", "20240501_040506", files=4, size=100, errors=1)
    result = archive.call("archive")
    entry = result["crawls"]["freedonia/20240501_040506"]
    assert entry.pop("seconds") >= 0
    assert entry.pop("compressed_bytes") > 0
    assert entry == {
        "decision": "archive",
        "reason": "new_period",
        "bytes": 400,
        "files": 4,
        "errors": 1,
        "destination": f"s3://{archive.bucket}/freedonia/2024/05/",
        "result": "archived",
    }
    assert archive.keys() == archived_keys("freedonia/2024/05")
    assert not crawl.directory.exists()
    assert not crawl.log.exists()
    assert archive.minion.retcode == 0


def test_archive_says_what_it_would_do(archive: Archive, unchanged: Callable[[], None]) -> None:
    archive.make("freedonia", "20240501_040506")
    archive.make("freedonia", "20240601_040506", finish_reason="shutdown")
    unchanged()
    result = archive.call("archive", dry_run=True)
    assert {key: entry["decision"] for key, entry in result["crawls"].items()} == {
        "freedonia/20240501_040506": "archive",
        "freedonia/20240601_040506": "reject",
    }
    assert result["summary"]["dry_run"] is True
    assert result["summary"]["archived"] == 0


def test_an_unknown_source_is_a_failure_that_names_the_nearest(archive: Archive) -> None:
    archive.make("freedonia", "20240501_040506")
    result = archive.call("archive", source="fredonia", dry_run=True)
    assert result["failed"] == {
        "fredonia": "source fredonia has neither crawls nor archives: did you mean freedonia?",
    }
    assert archive.minion.retcode == 1
    archive.call("archive")
    assert archive.call("archive", source="freedonia")["failed"] == {}
    assert archive.call("verify", source="fredonia")["failed"] == {
        "fredonia": "source fredonia has no archives: did you mean freedonia?",
    }
    assert archive.minion.retcode == 1


def test_a_mistyped_argument_is_told_the_nearest(archive: Archive) -> None:
    with pytest.raises(CommandExecutionError, match=r"argument dryrun is not a setting: did you mean dry_run\?"):
        archive.call("archive", dryrun=True)


def test_an_argument_turns_the_database_off(archive: Archive) -> None:
    archive.make("freedonia", "20240501_040506")
    archive.configure(database={"port": 1, "connect_timeout": 1})
    with pytest.raises(CommandExecutionError, match="cannot be asked"):
        archive.call("archive", dry_run=True)
    assert archive.call("archive", dry_run=True, database=False)["summary"]["archive"] == 1


def test_prune_has_to_be_told_how_old(archive: Archive) -> None:
    with pytest.raises(SaltInvocationError, match="argument days is not set: give it, like days=90"):
        archive.call("prune")


def test_archive_returns_no_more_than_a_master_passes_on(archive: Archive) -> None:
    count = 11_000
    for number in range(count):
        day, minute = divmod(number, 1440)
        (archive.data / f"freedonia/202401{day + 1:02}_{minute // 60:02}{minute % 60:02}00").mkdir(parents=True)
    result = archive.call("archive", dry_run=True, min_age_days=0, __pub_jid="20240101000000000000")
    assert result["crawls"] == {}
    assert result["notes"][-1].startswith(f"{count} crawls are left out")
    assert result["summary"]["reject"] == count
    assert len(archive.call("archive", dry_run=True, min_age_days=0)["crawls"]) == count


def test_archive_takes_one_source_or_a_list(archive: Archive) -> None:
    for source in ("borduria", "freedonia", "ruritania"):
        archive.make(source, "20240501_040506")
    assert list(archive.call("archive", dry_run=True, source="freedonia")["crawls"]) == ["freedonia/20240501_040506"]
    both = archive.call("archive", dry_run=True, source=["borduria", "ruritania"])
    assert list(both["crawls"]) == ["borduria/20240501_040506", "ruritania/20240501_040506"]


def test_archive_stops_at_a_limit(archive: Archive) -> None:
    for source in ("borduria", "freedonia"):
        archive.make(source, "20240501_040506")
    result = archive.call("archive", limit=1)
    assert result["summary"]["archived"] == 1
    assert result["crawls"]["freedonia/20240501_040506"]["reason"] == "limit"


def test_an_argument_overrides_pillar(archive: Archive) -> None:
    archive.make("freedonia", "20240501_040506", age_days=10)
    result = archive.call("archive", dry_run=True, min_age_days=20)
    assert result["crawls"]["freedonia/20240501_040506"]["reason"] == "recent"


def test_archive_asks_kingfisher_process(archive: Archive, postgresql: PostgreSQL, tmp_path: Path) -> None:
    source = f"source_{archive.bucket[-8:]}"
    archive.make(source, "20240501_040506")
    archive.make(source, "20240601_040506")
    postgresql.add_collection(source, "2024-05-01 04:05:06")
    database = {"host": postgresql.host, "port": postgresql.port, "name": postgresql.name, "user": postgresql.user}
    archive.configure(database={**database, "passfile": str(postgresql.passfile(tmp_path / "pgpass"))})
    crawls = archive.call("archive", dry_run=True)["crawls"]
    assert crawls[f"{source}/20240501_040506"]["decision"] == "archive"
    assert crawls[f"{source}/20240601_040506"]["reason"] == "not_loaded"
    archive.configure(database={**database, "password": postgresql.password})
    assert archive.call("archive", dry_run=True)["crawls"] == crawls


def test_a_wrong_password_is_one_sentence_without_it(archive: Archive, postgresql: PostgreSQL) -> None:
    archive.make("freedonia", "20240501_040506")
    archive.configure(database={"host": postgresql.host, "port": postgresql.port, "password": "wr0ngsecret"})
    with pytest.raises(CommandExecutionError) as error:
        archive.call("archive", dry_run=True)
    assert "correct kingfisher_archive:database" in str(error.value)
    assert "wr0ngsecret" not in str(error.value)


def test_one_failure_does_not_stop_the_others(archive: Archive) -> None:
    bad = archive.make("borduria", "20240501_040506")
    (bad.directory / "link").symlink_to("/etc/passwd")
    archive.make("freedonia", "20240501_040506")
    result = archive.call("archive", min_age_days=0)
    assert result["failed"] == {
        bad.id: f"{bad.id}: link is a symlink, and only files and directories can be archived: move it away"
    }
    assert archive.keys() == archived_keys("freedonia/2024/05")
    assert archive.minion.retcode == 1


@pytest.mark.parametrize("limit", [-1, "2", True, 1.5])
def test_archive_refuses_a_wrong_limit(archive: Archive, limit: Any) -> None:
    with pytest.raises(SaltInvocationError, match="argument limit must be a whole number, 0 or more, not "):
        archive.call("archive", limit=limit)


@pytest.mark.parametrize("source", ["", [], [1], 5, {"freedonia": 1}])
def test_a_wrong_source_is_refused(archive: Archive, source: Any) -> None:
    with pytest.raises(SaltInvocationError, match="argument source must be the name of a source or a list of names"):
        archive.call("archive", source=source)


# settings


def test_all_problems_are_in_one_message_with_their_places(archive: Archive, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    archive.configure(
        bucket=f"{archive.bucket}-absent",
        data_directory=str(absent),
        data_dirctory="/data",
        min_age_days="7",
        s3={**archive.pillar["s3"], "endpoint": "http://127.0.0.1:1"},
        database={"prot": 5432},
    )
    with pytest.raises(CommandExecutionError) as error:
        archive.call("archive", storage_clas="GLACIER")
    text = str(error.value)
    for sentence in (
        "- kingfisher_archive:data_dirctory is not a setting: did you mean data_directory?",
        "- argument storage_clas is not a setting: did you mean storage_class?",
        "- kingfisher_archive:min_age_days must be a number, not '7'",
        f"- kingfisher_archive:data_directory must be a directory, and {absent} is not one",
        "- kingfisher_archive:s3:endpoint is not a setting: did you mean endpoint_url?",
        "- kingfisher_archive:database:prot is not a setting: did you mean port?",
    ):
        assert sentence in text.splitlines()
    assert text.startswith("6 problems in the settings:\n")


def test_a_missing_bucket_is_among_the_problems(archive: Archive) -> None:
    archive.configure(bucket="absent", min_age_days=-1)
    with pytest.raises(CommandExecutionError) as error:
        archive.call("archive")
    assert str(error.value).splitlines() == [
        "2 problems in the settings:",
        "- kingfisher_archive:min_age_days must be 0 or more, not -1",
        (
            "- kingfisher_archive:bucket: bucket absent: the store answered NoSuchBucket: "
            "create the bucket, or correct kingfisher_archive:bucket"
        ),
    ]


def test_without_a_pillar_the_missing_settings_are_named(archive: Archive) -> None:
    archive.minion.set_pillar({})
    with pytest.raises(CommandExecutionError) as error:
        archive.call("archive")
    assert str(error.value).splitlines() == [
        "3 problems in the settings:",
        "- kingfisher_archive:bucket is not set",
        "- kingfisher_archive:data_directory is not set",
        "- kingfisher_archive:logs_directory is not set",
    ]


@pytest.mark.parametrize(("function", "arguments"), FUNCTIONS)
def test_every_function_checks_the_settings(archive: Archive, function: str, arguments: tuple[str, ...]) -> None:
    archive.configure(workers=0)
    with pytest.raises(CommandExecutionError, match="kingfisher_archive:workers must be greater than 0, not 0"):
        archive.call(function, *arguments)


@pytest.mark.parametrize(("function", "arguments"), FUNCTIONS)
@pytest.mark.parametrize(
    ("argument", "place"),
    [
        ({"s3": {"secret_access_key": "h1dden"}}, "s3:secret_access_key"),
        ({"database": {"password": "h1dden"}}, "database:password"),
        ({"sentry_dsn": "h1dden"}, "sentry_dsn"),
    ],
)
def test_a_secret_is_refused_as_an_argument_and_not_repeated(
    archive: Archive, function: str, arguments: tuple[str, ...], argument: dict[str, Any], place: str
) -> None:
    with pytest.raises(CommandExecutionError) as error:
        archive.call(function, *arguments, **argument)
    assert str(error.value) == (
        f"argument {place} is a secret, which an argument would show to everyone: set kingfisher_archive:{place} in "
        "pillar"
    )


def test_the_credentials_may_be_in_pillar(archive: Archive, seaweedfs: Any) -> None:
    identity = seaweedfs.identities["archive"]
    s3 = {**archive.pillar["s3"], "access_key_id": identity.access_key, "secret_access_key": identity.secret_key}
    del s3["credentials_file"]
    archive.configure(s3=s3)
    assert archive.call("archive", dry_run=True)["summary"]["crawls"] == 0


# crawls, archives


def test_crawls_are_listed_with_the_last_decision(archive: Archive) -> None:
    archive.make("freedonia", "20240501_040506", files=4, size=100, finish_reason="shutdown")
    before = archive.call("crawls")["freedonia/20240501_040506"]
    assert (before["bytes"], before["files"], before["decision"]) == (400, 4, None)
    archive.call("archive")
    after = archive.call("crawls", source="freedonia")["freedonia/20240501_040506"]
    assert (after["decision"], after["reason"]) == ("reject", "not_finished")
    assert archive.call("crawls", source="ruritania") == {}


def test_archives_are_listed(archive: Archive) -> None:
    assert archive.call("archives") == {}
    archive.make("freedonia", "20240501_040506", files=4, size=100)
    archive.call("archive")
    entry = archive.call("archives", source="freedonia")["freedonia/2024/05"]
    assert entry.pop("compressed_bytes") > 0
    assert entry == {"id": "freedonia/20240501_040506", "bytes": 400, "files": 4, "errors": 0, "complete": True}


# coverage


def test_coverage_is_a_table(archive: Archive) -> None:
    archive.make("freedonia", "20240201_040506")
    archive.call("archive")
    archive.make("freedonia", "20240501_040506", age_days=1)
    archive.make("freedonia", "20240601_040506", finish_reason="shutdown")
    assert archive.call("coverage").splitlines() == [
        "           2024",
        "source     JFMAMJJASOND",
        "freedonia   A..dx",
        "A archived, d on disk only, x rejected, . missing",
    ]


def test_coverage_of_nothing(archive: Archive) -> None:
    assert archive.call("coverage") == "There are neither crawls nor archives."


def test_coverage_is_a_page(archive: Archive, tmp_path: Path) -> None:
    archive.make("freedonia", "20240501_040506")
    assert archive.call("coverage", format="html") == {"path": str(tmp_path / "cache/coverage.html")}
    assert archive.call("coverage", format="html", path=str(tmp_path / "page.html"))
    for path in (tmp_path / "cache/coverage.html", tmp_path / "page.html"):
        assert 'title="freedonia 2024-05: on disk only"' in path.read_text()


def test_coverage_refuses_another_format(archive: Archive) -> None:
    with pytest.raises(SaltInvocationError, match="argument format must be text or html, not 'pdf'"):
        archive.call("coverage", format="pdf")


def test_coverage_refuses_a_path_that_cannot_be_written(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(CommandExecutionError, match=f"argument path: {tmp_path} cannot be written: Is a directory"):
        archive.call("coverage", format="html", path=str(tmp_path))


# verify


def test_verify_finds_that_all_is_well(archive: Archive) -> None:
    archive.make("freedonia", "20240501_040506", files=4, size=100)
    archive.call("archive")
    for deep in (False, True):
        result = archive.call("verify", deep=deep)
        assert result["archives"] == {
            "freedonia/2024/05": {"id": "freedonia/20240501_040506", "bytes": 400, "result": "verified"}
        }
        assert result["failed"] == {}
        assert archive.minion.retcode == 0


def test_verify_finds_what_is_wrong(archive: Archive) -> None:
    archive.make("freedonia", "20240501_040506")
    archive.call("archive")
    archive.store.put_object(Bucket=archive.bucket, Key="freedonia/2024/05/scrapy.log", Body=b"other")
    failed = archive.call("verify")["failed"]
    assert failed["freedonia/2024/05"].startswith("freedonia/2024/05/scrapy.log has 5 bytes, not ")
    assert archive.minion.retcode == 1


def test_verify_completes_what_the_old_tool_left(archive: Archive) -> None:
    archive.make("freedonia", "20240501_040506")
    archive.call("archive")
    key = {"Bucket": archive.bucket, "Key": "freedonia/2024/05/metadata.json"}
    document = json.loads(archive.store.get_object(**key)["Body"].read())
    old = {name: value for name, value in document.items() if name not in ("data", "log")} | {"checksum": None}
    archive.store.put_object(**key, Body=json.dumps(old).encode())
    before = archive.everything()
    assert archive.call("verify", dry_run=True)["summary"]["completed"] == 1
    assert archive.everything() == before
    assert json.loads(archive.store.get_object(**key)["Body"].read()) == old
    assert archive.call("verify")["summary"]["completed"] == 1
    completed = json.loads(archive.store.get_object(**key)["Body"].read())
    assert completed["checksum"] == document["checksum"]


# restore


def test_restore_gives_back_what_was_archived(archive: Archive, tmp_path: Path) -> None:
    crawl = archive.make("freedonia", "20240501_040506", files=20)
    files, log = content(crawl.directory), crawl.log.read_bytes()
    archive.call("archive")
    before = archive.everything()
    archive.call("restore", "freedonia", "2024-05", str(tmp_path / "restored"), dry_run=True)
    assert archive.everything() == before
    result = archive.call("restore", "freedonia", "2024-05", str(tmp_path / "restored"))
    assert content(Path(result["directory"])) == files
    assert Path(result["log"]).read_bytes() == log
    with pytest.raises(CommandExecutionError, match="exists and is not overwritten"):
        archive.call("restore", "freedonia", "2024-05", str(tmp_path / "restored"))


@pytest.mark.parametrize(
    ("month", "target", "message"),
    [
        ("2024-5", "restored", "month must be like 2024-05, not '2024-5'"),
        ("2024-06", "restored", "freedonia/2024/06 is not archived in bucket {bucket}: there are 2024-05"),
        ("2024-05", "data/x", "where it would be archived again: choose another target"),
    ],
)
def test_restore_refuses(archive: Archive, tmp_path: Path, month: str, target: str, message: str) -> None:
    archive.make("freedonia", "20240501_040506")
    archive.call("archive")
    with pytest.raises(CommandExecutionError) as error:
        archive.call("restore", "freedonia", month, str(tmp_path / target))
    assert message.format(bucket=archive.bucket) in str(error.value)


# prune


def test_prune_deletes_what_a_decision_allows(archive: Archive) -> None:
    rejected = archive.make("freedonia", "20240501_040506", finish_reason="shutdown", age_days=100, files=2, size=50)
    undecided = archive.make("ruritania", "20240501_040506", age_days=100)
    recent = archive.make("freedonia", "20240601_040506", finish_reason="shutdown", age_days=30)
    archive.call("archive", source="freedonia")
    before = archive.everything()
    would = archive.call("prune", days=90, dry_run=True)
    assert archive.everything() == before
    assert would["would_delete"] == {"freedonia/20240501_040506": {"reason": "not_finished", "bytes": 100}}
    assert would["kept"] == {
        "freedonia/20240601_040506": "it was written to in the last 90 days",
        "ruritania/20240501_040506": "no decision on it is recorded: run kingfisher.archive",
    }
    done = archive.call("prune", days=90)
    assert done["deleted"] == would["would_delete"]
    assert not rejected.directory.exists() and not rejected.log.exists()
    assert undecided.directory.exists() and undecided.log.exists()
    assert recent.directory.exists() and recent.log.exists()


@pytest.mark.parametrize("days", [-1, "90", True])
def test_prune_refuses_wrong_days(archive: Archive, days: Any) -> None:
    with pytest.raises(SaltInvocationError, match="argument days must be a number of days, 0 or more, not "):
        archive.call("prune", days=days)
