"""The state kingfisher_incremental.crawls: what an edit of the list in pillar does to the server."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.functional.conftest import Minion
from tests.incremental_host import Host, wait_until
from tests.services.postgresql import PostgreSQL

FREEDONIA = {"identifier": "FREEDONIA", "spider": "freedonia_api", "crawl_time": "2025-05-06"}
SYLVANIA = {"identifier": "SYLVANIA", "spider": "sylvania_bulk", "crawl_time": "2025-05-07", "day": 1}
BORDURIA = {"identifier": "BORDURIA", "spider": "borduria_api", "crawl_time": "2025-05-08"}


@pytest.fixture
def host(tmp_path: Path, postgresql: PostgreSQL) -> Host:
    made = Host(tmp_path, postgresql)
    made.remember_spiders()
    return made


def state(minion: Minion, host: Host, *, test: bool = False) -> Any:
    minion.set_pillar({"python_apps": {"kingfisher_collect": host.pillar}})
    return minion.state("kingfisher_incremental.crawls", name="crawls", test=test)


def applied(minion: Minion, host: Host) -> Any:
    """Apply pillar. Test mode tells what is then done, and changes nothing, as does a second apply."""
    before = host.files()
    predicted = state(minion, host, test=True)
    assert host.files() == before
    done = state(minion, host)
    assert done.result is True, done.comment
    assert done.changes == predicted.changes
    assert predicted.result is (None if predicted.changes else True)
    assert done.comment.replace("has been", "have been") == predicted.comment.replace("would have been", "have been")
    after = host.files()
    again = state(minion, host)
    assert (again.result, again.changes) == (True, {})
    assert again.comment.splitlines()[0] == "The incremental crawls are those of pillar."
    assert host.files() == after
    return done


def scheduled(host: Host) -> dict[str, str]:
    """Return when each crawl runs, by identifier."""
    lines = host.cron_file.read_text().splitlines() if host.cron_file.exists() else []
    return {line.split("/")[-2]: " ".join(line.split()[:5]) for line in lines if line[:1].isdigit()}


def test_crawls_are_added(minion: Minion, host: Host) -> None:
    host.crawls = [FREEDONIA, SYLVANIA]
    done = applied(minion, host)
    assert list(done.changes) == ["library", "environment", "schedule", "FREEDONIA", "SYLVANIA"]
    assert done.changes["SYLVANIA"] == {
        "old": None,
        "new": {"spider": "sylvania_bulk", "crawl_time": "2025-05-07", "schedule": "15 0 1 * *"},
    }
    assert done.changes["environment"] == {"old": None, "new": "**"}
    assert done.comment.splitlines()[0] == "2 crawls have been added."
    assert scheduled(host) == {"FREEDONIA": "15 0 * * *", "SYLVANIA": "15 0 1 * *"}
    assert stat.S_IMODE(host.script("FREEDONIA").stat().st_mode) == 0o750
    assert stat.S_IMODE(host.cron_file.stat().st_mode) == 0o644
    for directory in ("data/freedonia_api", "logs/freedonia_api", "runs/FREEDONIA", "data/sylvania_bulk"):
        assert (host.home / directory).is_dir()
    assert host.run("FREEDONIA", "--dry-run").returncode == 0


def test_of_a_changed_crawl_only_what_differs_is_written(minion: Minion, host: Host) -> None:
    host.crawls = [FREEDONIA, SYLVANIA]
    applied(minion, host)
    before = host.files()
    host.crawls = [FREEDONIA, {**SYLVANIA, "spider_arguments": "-a qs:a='1 %'"}]
    done = applied(minion, host)
    assert done.changes == {
        "SYLVANIA": {"old": {"spider_arguments": {}}, "new": {"spider_arguments": {"qs:a": "1 %"}}}
    }
    assert done.comment == "1 crawl has been changed."
    after = host.files()
    assert [name for name in after if after[name] != before[name]] == [
        f"{host.program_directory.name}/crawls/SYLVANIA/crawl.json"
    ]


def test_a_changed_day_changes_the_schedule(minion: Minion, host: Host) -> None:
    host.crawls = [FREEDONIA, SYLVANIA]
    applied(minion, host)
    host.crawls = [FREEDONIA, {**SYLVANIA, "day": 28}]
    done = applied(minion, host)
    assert done.changes["SYLVANIA"] == {"old": {"schedule": "15 0 1 * *"}, "new": {"schedule": "15 0 28 * *"}}
    assert scheduled(host)["SYLVANIA"] == "15 0 28 * *"


def test_a_removed_crawl_is_gone_but_for_data_logs_and_tables(minion: Minion, host: Host) -> None:
    host.crawls = [FREEDONIA, SYLVANIA]
    applied(minion, host)
    assert host.run("SYLVANIA").returncode == 0
    host.crawls = [FREEDONIA]
    done = applied(minion, host)
    assert list(done.changes) == ["schedule", "SYLVANIA"]
    assert done.changes["SYLVANIA"]["new"] is None
    data, logs = host.home / "data" / "sylvania_bulk", host.home / "logs" / "sylvania_bulk"
    assert f"Of SYLVANIA, these are kept: {data}, {logs}, table sylvania_bulk." in done.comment
    assert list(data.rglob("*.json"))
    assert list(logs.rglob("*.log"))
    assert host.query("SELECT count(*) FROM sylvania_bulk") == [(4,)]
    assert scheduled(host) == {"FREEDONIA": "15 0 * * *"}
    assert not host.script("SYLVANIA").parent.exists()
    assert not (host.home / "runs" / "SYLVANIA").exists()


def test_mail_goes_to_who_looks_after_cron_unless_the_section_says_otherwise(minion: Minion, host: Host) -> None:
    host.crawls = [FREEDONIA]
    app = host.pillar
    for cron, mailto in (
        (app["cron"], "admin@example.com"),
        ({**app["cron"], "mailto": "me@example.com"}, "me@example.com"),
    ):
        pillar = {"python_apps": {"kingfisher_collect": {**app, "cron": cron}}}
        minion.set_pillar({**pillar, "system_contacts": {"cron_admin": "admin@example.com"}})
        assert minion.state("kingfisher_incremental.crawls", name="crawls").result
        assert f"MAILTO={mailto}\n" in host.cron_file.read_text()


def test_when_the_last_crawl_is_removed_the_schedule_is_gone(minion: Minion, host: Host) -> None:
    host.crawls = [FREEDONIA]
    applied(minion, host)
    host.crawls = []
    done = applied(minion, host)
    assert done.changes["schedule"] == {"old": 1, "new": None}
    assert not host.cron_file.exists()


def test_nothing_of_others_is_touched(minion: Minion, host: Host) -> None:
    others = {
        host.cron_file.with_name("other"): "# Lines of others, with 100 \\% and no end\n* * * * * root true",
        host.home / ".pgpass": "*:*:*:*:x\n",
        host.home / "runs" / "FREEDONIA" / "notes.txt": "by hand",
        host.program_directory / "crawls" / "FREEDONIA" / "notes.txt": "by hand",
        host.program_directory / "crawls" / "FREEDONIA.bak": "by hand",
        host.program_directory / "crawls" / "OTHERS" / "notes.txt": "by hand",
    }
    for path, text in others.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
    for crawls in ([FREEDONIA, SYLVANIA], [SYLVANIA]):
        host.crawls = crawls
        applied(minion, host)
    assert list(scheduled(host)) == ["SYLVANIA"]
    assert {path: path.read_text() for path in others} == others


def test_what_was_edited_by_hand_is_put_right(minion: Minion, host: Host) -> None:
    host.crawls = [FREEDONIA, SYLVANIA]
    applied(minion, host)
    host.script("FREEDONIA").write_text("#!/bin/sh\n")
    host.script("SYLVANIA").chmod(0o777)
    (host.home / "logs" / "sylvania_bulk").rmdir()
    host.cron_file.write_text("")
    done = applied(minion, host)
    assert list(done.changes) == ["schedule", "FREEDONIA", "SYLVANIA"]
    assert done.changes["FREEDONIA"] == {"old": {"files": "run differed"}, "new": {"files": "run as Salt writes it"}}
    assert done.changes["SYLVANIA"]["new"]["directories"] == [str(host.home / "logs" / "sylvania_bulk")]


def test_a_damaged_crawl_is_put_right(minion: Minion, host: Host) -> None:
    host.crawls = [FREEDONIA]
    applied(minion, host)
    (host.script("FREEDONIA").parent / "crawl.json").write_text("{")
    assert list(applied(minion, host).changes) == ["FREEDONIA"]


def test_a_new_version_of_the_library_is_installed(minion: Minion, host: Host) -> None:
    host.crawls = [FREEDONIA]
    applied(minion, host)
    library = host.program_directory / "lib" / "kingfisher_salt"
    (library / "errors.py").write_text("")
    (library / "of_old.py").write_text("")
    done = applied(minion, host)
    assert done.changes["library"]["new"] == "2 files: kingfisher_salt/errors.py, kingfisher_salt/of_old.py"
    assert not (library / "of_old.py").exists()


def test_a_changed_secret_is_not_shown(minion: Minion, host: Host) -> None:
    host.crawls = [FREEDONIA]
    host.more["env"] = {"TOKEN": "first-hush"}
    first = applied(minion, host)
    host.more["env"] = {"TOKEN": "second-hush"}
    second = applied(minion, host)
    assert second.changes == {"environment": {"old": "**", "new": "**"}}
    assert "hush" not in json.dumps([first.raw, second.raw])


@pytest.mark.parametrize("test", [True, False])
def test_mistakes_are_told_at_once_and_nothing_is_written(minion: Minion, host: Host, test: bool) -> None:
    host.crawls = [FREEDONIA]
    applied(minion, host)
    before = host.files()
    host.crawls = [SYLVANIA, {**FREEDONIA, "day": 31, "spider": "freedonia"}]
    failed = state(minion, host, test=test)
    assert failed.result is False
    assert failed.changes == {}
    assert failed.comment.splitlines()[0] == "2 problems in the settings:"
    assert "crawls:1:spider freedonia is not in the checkout: did you mean freedonia_api?" in failed.comment
    assert host.files() == before


def test_without_a_checkout_test_mode_predicts_and_apply_waits(minion: Minion, host: Host) -> None:
    host.crawls = [FREEDONIA]
    (host.home / "checkout").unlink()
    predicted = state(minion, host, test=True)
    assert predicted.result is None
    assert "FREEDONIA" in predicted.changes
    assert "There is no checkout at " in predicted.comment
    failed = state(minion, host)
    assert (failed.result, failed.changes) == (False, {})
    assert not host.program_directory.exists()


def test_a_checkout_that_is_broken_is_one_sentence(minion: Minion, host: Host) -> None:
    host.crawls = [FREEDONIA]
    (host.home / "checkout").unlink()
    (host.home / "checkout").mkdir()
    (host.home / "checkout" / "scrapy.cfg").write_text("[settings]\ndefault = nowhere.settings\n")
    failed = state(minion, host)
    assert failed.result is False
    assert "cannot be listed: ModuleNotFoundError: No module named 'nowhere'" in failed.comment


def test_users_are_granted_and_revoked(minion: Minion, host: Host) -> None:
    old, new, others = host.role(), host.role(), host.role()
    host.crawls = [{**FREEDONIA, "users": [old]}]
    applied(minion, host)
    assert host.run("FREEDONIA").returncode == 0
    host.query(f"GRANT SELECT ON freedonia_api TO {others}")
    host.crawls = [{**FREEDONIA, "users": [new]}]
    done = applied(minion, host)
    assert done.changes["FREEDONIA"]["new"] == {"readers": [new], "users": [new]}
    assert readers(host) == {new, others}
    host.crawls = []
    applied(minion, host)
    assert readers(host) == {others}


def readers(host: Host) -> set[str]:
    found = host.query("SELECT grantee FROM information_schema.role_table_grants WHERE table_name = 'freedonia_api'")
    return {name for (name,) in found} - {host.postgresql.user}


def test_a_grant_that_was_lost_is_given_again(minion: Minion, host: Host) -> None:
    user = host.role()
    host.crawls = [{**FREEDONIA, "users": [user]}]
    applied(minion, host)
    assert host.run("FREEDONIA").returncode == 0
    host.query(f"REVOKE SELECT ON freedonia_api FROM {user}")
    done = applied(minion, host)
    assert done.changes == {"FREEDONIA": {"old": {"readers": None}, "new": {"readers": [user]}}}


def test_a_user_that_is_no_role_is_a_mistake(minion: Minion, host: Host) -> None:
    host.crawls = [FREEDONIA, {**SYLVANIA, "users": ["nobody_here"]}]
    failed = state(minion, host)
    assert failed.result is False
    assert "crawls:1:users: there is no PostgreSQL role nobody_here at postgresql://" in failed.comment
    assert host.postgresql.password not in failed.comment
    assert not host.program_directory.exists()


def test_a_user_who_may_not_enter_is_told(minion: Minion, host: Host) -> None:
    user = host.role()
    host.query("REVOKE ALL ON SCHEMA public FROM public")
    host.crawls = [{**FREEDONIA, "users": [user]}]
    assert f"{user} lacks USAGE on the schema {host.database}" in state(minion, host).comment


def test_a_crawl_that_is_running_is_removed_when_it_has_ended(minion: Minion, host: Host) -> None:
    gate = host.directory / "gate"
    host.crawls = [FREEDONIA, {**SYLVANIA, "settings": {"WAIT_FOR": str(gate)}}]
    applied(minion, host)
    running = host.start("SYLVANIA")
    wait_until(lambda: host.last("SYLVANIA").get("phase") == "crawling")
    host.crawls = [FREEDONIA]
    left = state(minion, host)
    assert left.result is False
    assert "SYLVANIA is no longer in pillar, and is running, as process" in left.comment
    assert list(left.changes) == ["schedule"]
    assert "SYLVANIA" not in scheduled(host)
    gate.touch()
    assert running.wait(60) == 0
    assert list(applied(minion, host).changes) == ["SYLVANIA"]


def test_a_crawl_that_is_renamed_while_it_runs_is_not_doubled(minion: Minion, host: Host) -> None:
    gate = host.directory / "gate"
    crawl = {**SYLVANIA, "settings": {"WAIT_FOR": str(gate)}}
    host.crawls = [FREEDONIA, crawl]
    applied(minion, host)
    running = host.start("SYLVANIA")
    wait_until(lambda: host.last("SYLVANIA").get("phase") == "crawling")
    host.crawls = [FREEDONIA, {**crawl, "identifier": "BORDURIA"}]
    left = state(minion, host)
    assert left.result is False
    assert "BORDURIA writes where SYLVANIA does, which is running: it is left as it is until" in left.comment
    assert set(scheduled(host)) == {"FREEDONIA"}
    gate.touch()
    assert running.wait(60) == 0
    assert set(applied(minion, host).changes) == {"SYLVANIA", "BORDURIA", "schedule"}


def test_the_functions_of_all_files_of_one_name_are_there(minion: Minion, host: Host) -> None:
    """Salt's loader puts together _modules/kingfisher.py and _modules/kingfisher_incremental.py."""
    state(minion, host)
    functions = minion.call("sys.list_functions", "kingfisher")
    assert {"kingfisher.archive", "kingfisher.run_crawl", "kingfisher.incremental_status"} <= set(functions)


def test_a_crawl_is_run_by_hand_and_watched(minion: Minion, host: Host) -> None:
    host.crawls = [FREEDONIA, SYLVANIA]
    applied(minion, host)
    assert minion.call("kingfisher.run_crawl", "FREEDONIA", dry_run=True)["result"] == "would run"
    minion.call("kingfisher.run_crawl", "FREEDONIA")
    wait_until(lambda: minion.call("kingfisher.incremental_status")["FREEDONIA"]["result"] == "success")
    told = minion.call("kingfisher.incremental_status")
    assert told["FREEDONIA"]["rows"] == 4
    assert told["SYLVANIA"]["result"] == "never run"
    with pytest.raises(Exception, match="FREDONIA is not an incremental crawl of this server: did you mean FREEDONIA"):
        minion.call("kingfisher.run_crawl", "FREDONIA")


def test_a_mistake_in_one_crawl_does_not_hide_how_the_others_are(minion: Minion, host: Host) -> None:
    host.crawls = [FREEDONIA]
    applied(minion, host)
    host.crawls = [FREEDONIA, {**SYLVANIA, "day": 31}]
    minion.set_pillar({"python_apps": {"kingfisher_collect": host.pillar}})
    assert list(minion.call("kingfisher.incremental_status")) == ["FREEDONIA"]
