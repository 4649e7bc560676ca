"""The state kingfisher_operator.configured, with test mode off and on."""

from __future__ import annotations

import getpass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kingfisher_salt.incremental import person

from tests.functional.conftest import Minion

SERVER = {"url": "https://collect.example.com/", "project": "kingfisher", "username": "collect", "password": "h1dden"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home of this user, which is not the real one."""
    found = person.entry(getpass.getuser())
    fake = SimpleNamespace(pw_dir=str(tmp_path), pw_uid=found.pw_uid, pw_gid=found.pw_gid)
    monkeypatch.setattr(person, "entry", lambda _: fake)
    return tmp_path


def state(minion: Minion, *, test: bool = False, **changes: Any) -> Any:
    user = getpass.getuser()
    minion.set_pillar({"kingfisher_operators": {user: {"registry": {**SERVER, **changes}}}})
    return minion.state("kingfisher_operator.configured", name=user, test=test)


def test_files_are_changed_once(minion: Minion, home: Path) -> None:
    (home / ".netrc").write_text("machine a login b password c\n")
    (home / ".netrc").chmod(0o600)
    planned = state(minion, test=True)
    assert planned.result is None
    assert [path.name for path in home.iterdir()] == [".netrc"]
    done = state(minion)
    assert done.result is True
    assert done.changes == planned.changes
    assert set(done.changes) == {"~/.netrc", "~/.config/scrapy.cfg"}
    assert "h1dden" not in str([done.raw, planned.raw])
    assert (home / ".netrc").read_text().splitlines() == [
        "machine a login b password c",
        "machine collect.example.com login collect password h1dden",
    ]
    again = state(minion)
    assert (again.result, again.changes) == (True, {})


@pytest.mark.parametrize("test", [True, False])
def test_a_mistake_is_the_comment(minion: Minion, home: Path, test: bool) -> None:
    failed = state(minion, test=test, url=None)
    assert (failed.result, failed.changes) == (False, {})
    assert failed.comment.endswith(":registry:url is not set")
    assert list(home.iterdir()) == []
