"""The parts of incremental crawls: schedule, script, environment, flags, lock, next run."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from kingfisher_salt.errors import KingfisherError, LockedError
from kingfisher_salt.incremental import config, files, flags, installed, lock, person, record, status

CRAWLS = [
    {"identifier": "FREEDONIA", "spider": "freedonia_api", "crawl_time": "2025-05-06"},
    {"identifier": "BORDURIA", "spider": "borduria_api", "crawl_time": "2025-05-06", "day": 1},
]


def load(**settings: Any) -> config.Config:
    loaded, problems = config.load({"user": "incremental", "crawls": CRAWLS, **settings}, None)
    assert not problems
    assert loaded
    return loaded


def test_the_schedule_has_a_line_for_each_crawl() -> None:
    text = installed.schedule(load(cron={"mailto": "sysadmin@example.com", "hour": 2}))
    assert text.splitlines()[2:] == [
        "MAILTO=sysadmin@example.com",
        "15 2 * * * incremental /opt/kingfisher-incremental/crawls/FREEDONIA/run",
        "15 2 1 * * incremental /opt/kingfisher-incremental/crawls/BORDURIA/run",
    ]


def test_percent_signs_and_quotes_in_the_schedule_are_safe() -> None:
    line = installed.schedule(load(program_directory="/opt/50% it's")).splitlines()[-1]
    command = line.split(maxsplit=6)[6]
    assert "\\%" in command
    assert subprocess.run(
        ["/bin/sh", "-c", f"printf %s {command}".replace("\\%", "%")], capture_output=True, text=True, check=True
    ).stdout.endswith("/opt/50% it's/crawls/BORDURIA/run")


def test_the_script_passes_its_arguments_on(tmp_path: Path) -> None:
    loaded = load(program_directory=str(tmp_path / "it's $HOME"), virtualenv=str(tmp_path))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    script = tmp_path / "run"
    script.write_text(installed.script(loaded, loaded.crawls[0]))
    said = subprocess.run(["/bin/sh", script, "--dry-run", "a b"], capture_output=True, text=True, check=True).stdout
    root = tmp_path / "it's $HOME"
    assert said == f"{root}/lib/run.py|{root}/crawls/FREEDONIA/crawl.json|--dry-run|a b|"


def test_settings_have_no_secret_and_are_read_back() -> None:
    loaded = load(database={"password": "secret"}, env={"TOKEN": "secret"})
    values = installed.settings(loaded, loaded.crawls[0])
    assert "secret" not in installed.text(values)
    assert installed.crawl(json.loads(installed.text(values))) == loaded.crawls[0]


def test_the_environment_is_read_by_us_and_by_a_shell(tmp_path: Path) -> None:
    nasty = '50% "of" it\'s $HOME `id` \\ #é\nnext'
    loaded = load(env={"TOKEN": nasty, "NUMBER": 7}, database={"password": "p w"})
    path = tmp_path / "environment"
    path.write_text(installed.environment(loaded))
    assert installed.read_environment(path) == {"TOKEN": nasty, "NUMBER": "7", "PGPASSWORD": "p w"}
    said = subprocess.run(
        ["/bin/sh", "-c", '. "$1"; printf %s "$TOKEN"', "sh", path], capture_output=True, text=True, check=True
    ).stdout
    assert said == nasty


@pytest.mark.parametrize("text", ["{", "[]", "{}", ""])
def test_damaged_settings_are_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "crawl.json"
    path.write_text(text)
    with pytest.raises(KingfisherError, match=r"cannot be read: it is not what Salt wrote: salt 'ID' state.apply"):
        installed.read(path)


@pytest.mark.parametrize(
    ("schedule", "now", "due"),
    [
        ("15 0 * * *", "2026-02-28 00:14", "2026-02-28 00:15"),
        ("15 0 * * *", "2026-02-28 00:15", "2026-03-01 00:15"),
        ("15 0 1 * *", "2026-12-01 00:16", "2027-01-01 00:15"),
        ("30 2 28 * *", "2026-02-28 02:00", "2026-02-28 02:30"),
        ("30 2 28 * *", "2026-01-31 12:00", "2026-02-28 02:30"),
    ],
)
def test_the_next_run_is_when_cron_says(schedule: str, now: str, due: str) -> None:
    assert status.next_run(schedule, datetime.fromisoformat(now)) == due


def test_flags_are_rows_for_copy(tmp_path: Path) -> None:
    (tmp_path / "in").write_text(
        json.dumps(
            {
                "OCID": {"ocds-1": {"R036": 1.0}},
                "ProcuringEntity": {"P\\N\t": {"R038": 0.5}, "elsewhere": {"R038": 0.5}},
                "Tenderer": {"T": {"R048": 11.0, "R024": 0.1}},
                "Maps": {
                    "ocid_procuringentity_r038": {"ocds-1": "P\\N\t"},
                    "ocid_tenderer": {"ocds-1": ["T"], "ocds-2": ["T", "U"]},
                    "ocid_tenderer_r024": {"ocds-2": ["T"]},
                },
                "Meta": {},
                "Currency": "DOP",
            }
        )
    )
    flags.write_flags(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out").read_text().splitlines() == [
        "ocds-1\tOCID\tR036\t1.0\t\\N\t\\N\t\\N",
        "ocds-1\tProcuringEntity\tR038\t0.5\t\\N\tP\\\\N\\t\t\\N",
        "ocds-1\tTenderer\tR048\t11.0\t\\N\t\\N\tT",
        "ocds-2\tTenderer\tR048\t11.0\t\\N\t\\N\tT",
        "ocds-2\tTenderer\tR024\t0.1\t\\N\t\\N\tT",
    ]


@pytest.mark.parametrize("text", ["", "[]", '{"OCID": []}', '{"Maps": {"ocid_tenderer": 1}}'])
def test_what_cardinal_would_not_write_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "in").write_text(text)
    with pytest.raises(KingfisherError, match="is not what ocdscardinal indicators --map writes"):
        flags.write_flags(tmp_path / "in", tmp_path / "out")


def test_a_lock_is_held_until_the_last_that_inherited_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    descriptor = lock.take(path, "FREEDONIA")
    child = subprocess.Popen(["sleep", "60"], pass_fds=[descriptor])
    os.close(descriptor)
    try:
        assert lock.holder(path)
        with pytest.raises(
            LockedError, match=f"FREEDONIA is still running, as process {os.getpid()}, so this run was"
        ):
            lock.take(path, "FREEDONIA")
    finally:
        child.kill()
        child.wait()
    assert lock.holder(path) is None


def test_a_lock_that_is_a_symlink_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic"):
        lock.take(tmp_path / "lock", "FREEDONIA")
    assert (tmp_path / "target").read_text() == "precious"


def test_a_record_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert record.read(tmp_path) == {}
    (tmp_path / record.NAME).write_text("[1")
    assert record.read(tmp_path) == {}


def test_a_file_is_compared_by_content_mode_and_kind(tmp_path: Path) -> None:
    file = files.Managed(tmp_path / "new" / "file", b"text", 0o640, os.geteuid(), os.getegid())
    assert file.differs()
    file.write()
    assert not file.differs()
    file.path.chmod(0o644)
    assert file.differs()
    file.write()
    file.path.write_bytes(b"TEXT")
    assert file.differs()
    file.path.rename(tmp_path / "elsewhere")
    file.path.symlink_to(tmp_path / "elsewhere")
    assert file.differs()
    file.write()
    assert not file.path.is_symlink()
    assert (tmp_path / "elsewhere").read_bytes() == b"TEXT"
    assert [path.name for path in file.path.parent.iterdir()] == ["file"]


def test_a_user_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(person.NoSuchUserError, match="there is no user nobody_here on this server"):
        person.options("nobody_here")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_root_becomes_the_user_wholly(tmp_path: Path) -> None:
    said = person.call("nobody", ["/bin/sh", "-c", "id -u; id -g; id -G; umask; env"]).stdout
    ids, umask, environment = said.split("\n")[:3], said.split("\n")[3], said.split("\n")[4:]
    found = person.entry("nobody")
    assert ids == [str(found.pw_uid), str(found.pw_gid), str(found.pw_gid)]
    assert umask == "0022"
    assert "USER=nobody" in environment
    assert not any(line.startswith("PYTEST") for line in environment)
    with pytest.raises(KingfisherError, match="nobody cannot do this: mkdir: cannot create directory"):
        person.on_each("nobody", ["mkdir", "-p"], [tmp_path / "a b"])


def test_the_user_needs_no_other_user() -> None:
    assert "user" not in person.options(getpass.getuser())
