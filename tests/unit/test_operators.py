"""~/.netrc and ~/.config/scrapy.cfg are edited, and all else in them stays as it is."""

from __future__ import annotations

import getpass
import netrc as standard_netrc
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest
from kingfisher_salt.errors import KingfisherError
from kingfisher_salt.incremental import person
from kingfisher_salt.operators import config, ini, netrc
from kingfisher_salt.operators.configure import configure

HOST = "collect.data.open-contracting.org"
# Seed 000, and its password.
SERVER = {"url": f"https://{HOST}/", "project": "kingfisher", "username": "collect", "password": "pass"}
SCRAPY = f"[deploy:registry]\nurl = https://{HOST}/\nproject = kingfisher\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", f"machine {HOST} login collect password pass\n"),
        (
            "machine other login x password y",
            f"machine other login x password y\nmachine {HOST} login collect password pass\n",
        ),
        (f"machine {HOST} login collect password old\n", f"machine {HOST} login collect password pass\n"),
        (
            f"# mine\nmachine {HOST}\n\tlogin collect\n\tpassword old\n# end",
            f"# mine\nmachine {HOST}\n\tlogin collect\n\tpassword pass\n# end",
        ),
        (f"machine {HOST} login collect\n", f"machine {HOST} login collect password pass\n"),
        (
            f'machine a login password password "{HOST} machine"\ndefault login anonymous password x\n',
            (
                f'machine a login password password "{HOST} machine"\n'
                f"machine {HOST} login collect password pass\ndefault login anonymous password x\n"
            ),
        ),
        (
            f"macdef init\nmachine {HOST} login x password y\n\nmachine b login c password d\n",
            (
                f"macdef init\nmachine {HOST} login x password y\n\nmachine b login c password d\n"
                f"machine {HOST} login collect password pass\n"
            ),
        ),
        (
            f"# machine {HOST} login x password y\n",
            f"# machine {HOST} login x password y\nmachine {HOST} login collect password pass\n",
        ),
    ],
)
def test_netrc_gets_an_entry_and_keeps_the_others(before: str, after: str, tmp_path: Path) -> None:
    assert netrc.edit(before, HOST, "collect", "pass")[0] == after
    assert netrc.edit(after, HOST, "collect", "pass") == (after, None)
    if "macdef" not in before:
        (tmp_path / "netrc").write_text(after)
        found = standard_netrc.netrc(tmp_path / "netrc").authenticators(HOST)
        assert found
        assert (found[0], found[2]) == ("collect", "pass")


@pytest.mark.parametrize("password", ['a b"c\\d#e', "#x", "pass#word", "ü%$'"])
def test_a_password_is_quoted_as_programs_read_it(password: str, tmp_path: Path) -> None:
    text, _ = netrc.edit("", HOST, "collect", password)
    (tmp_path / "netrc").write_text(text, encoding="utf-8")
    found = standard_netrc.netrc(tmp_path / "netrc").authenticators(HOST)
    assert found
    assert found[2] == password
    assert netrc.edit(text, HOST, "collect", password) == (text, None)


def test_an_entry_for_another_login_is_left_alone_and_told() -> None:
    with pytest.raises(KingfisherError, match=f"has an entry for machine {HOST} with the login james: remove it, or"):
        netrc.edit(f"machine {HOST} login james password x\n", HOST, "collect", "pass")


@pytest.mark.parametrize(
    ("before", "after", "old"),
    [
        ("", SCRAPY, {"url": None, "project": None}),
        ("[deploy:main]\nurl = x\n", f"[deploy:main]\nurl = x\n\n{SCRAPY}", {"url": None, "project": None}),
        (
            "; mine\n[deploy:registry]\nproject: kingfisher\nURL=http://old/\n  more\nusername = x\n\n[z]\na=1",
            f"; mine\n[deploy:registry]\nproject: kingfisher\nurl = https://{HOST}/\nusername = x\n\n[z]\na=1",
            {"url": "http://old/\nmore"},
        ),
        (
            "[deploy:registry]\n# url = x\n\n[z]\n",
            f"[deploy:registry]\n# url = x\nurl = https://{HOST}/\nproject = kingfisher\n\n[z]\n",
            {"url": None, "project": None},
        ),
        ("[deploy:registry]", SCRAPY, {"url": None, "project": None}),
        (SCRAPY, SCRAPY, {}),
    ],
)
def test_a_section_gets_its_options_and_keeps_the_others(before: str, after: str, old: dict[str, str]) -> None:
    options = {"url": SERVER["url"], "project": SERVER["project"]}
    assert ini.edit(before, "deploy:registry", options) == (after, old)
    assert ini.edit(after, "deploy:registry", options) == (after, {})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"url": None}, "url is not set"),
        ({"url": "collect.example.com"}, "url must be like https://collect.example.com/"),
        ({"url": f"https://collect:pass@{HOST}/"}, "url must not hold credentials"),
        ({"project": ""}, "project must be on one line"),
        ({"password": None}, "password is not set, and Scrapyd needs both"),
        ({"password": "a\nb"}, "password must be on one line"),
        ({"user": "x"}, "user is not a setting: did you mean username?"),
    ],
)
def test_a_mistake_is_one_sentence_without_a_password(changes: dict[str, str], problem: str) -> None:
    with pytest.raises(KingfisherError) as error:
        config.load({"james": {"registry": {**SERVER, **changes}}}, "james")
    assert str(error.value).startswith(f"kingfisher_operators:james:registry:{problem}")
    assert "a\nb" not in str(error.value)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home of this user, which is not the real one."""
    found = person.entry(getpass.getuser())
    fake = SimpleNamespace(pw_dir=str(tmp_path), pw_uid=found.pw_uid, pw_gid=found.pw_gid)
    monkeypatch.setattr(person, "entry", lambda _: fake)
    return tmp_path


def run(*, dry_run: bool = False, **changes: str) -> dict[str, object]:
    return configure(getpass.getuser(), config.load({"x": {"registry": {**SERVER, **changes}}}, "x"), dry_run=dry_run)


def test_files_are_made_then_kept(home: Path) -> None:
    expected = {
        "~/.netrc": {HOST: {"old": None, "new": "login collect, password **"}},
        "~/.config/scrapy.cfg": {
            "deploy:registry": {
                "old": {"url": None, "project": None},
                "new": {"url": SERVER["url"], "project": "kingfisher"},
            }
        },
    }
    assert run(dry_run=True) == expected
    assert list(home.iterdir()) == []
    assert run() == expected
    assert stat.S_IMODE((home / ".netrc").stat().st_mode) == 0o600
    assert stat.S_IMODE((home / ".config" / "scrapy.cfg").stat().st_mode) == 0o644
    assert (home / ".config" / "scrapy.cfg").read_text() == SCRAPY
    assert run() == {}
    assert sorted(path.name for path in home.rglob("*")) == [".config", ".netrc", "scrapy.cfg"]


def test_a_file_that_others_may_read_is_closed_and_one_that_is_a_symlink_stays_one(home: Path) -> None:
    (home / "dotfiles").mkdir()
    (home / "dotfiles" / "netrc").write_text("machine a login b password c\n")
    (home / "dotfiles" / "netrc").chmod(0o644)
    (home / ".netrc").symlink_to("dotfiles/netrc")
    assert run()["~/.netrc"]["mode"] == {"old": "644", "new": "600"}  # type: ignore[index]
    assert (home / ".netrc").is_symlink()
    assert stat.S_IMODE((home / ".netrc").stat().st_mode) == 0o600
    assert (home / ".netrc").read_text().startswith("machine a login b password c\n")
    assert run() == {}


def test_what_is_not_text_and_other_line_ends_stay_to_the_byte(home: Path) -> None:
    (home / ".config").mkdir()
    before = {
        home / ".netrc": b"machine a login b password caf\xe9\r\n",
        home / ".config/scrapy.cfg": b"[deploy:main]\r\nurl = x \x0b[deploy:registry]\r\n# \xc2\x85 \xff\n",
    }
    for path, content in before.items():
        path.write_bytes(content)
    run()
    for path, content in before.items():
        assert path.read_bytes().startswith(content)
    assert (home / ".config/scrapy.cfg").read_text(errors="replace").endswith(SCRAPY)
    assert run() == {}


def test_a_file_that_cannot_be_read_is_one_sentence(home: Path) -> None:
    (home / ".netrc").mkdir()
    with pytest.raises(KingfisherError, match=r"\.netrc cannot be read by .*: cat: .*Is a directory: correct that"):
        run()
