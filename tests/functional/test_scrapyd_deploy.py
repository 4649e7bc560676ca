"""Spiders are deployed from a checkout or an egg, and what does not work does not stay."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError

from tests.functional.conftest import Minion
from tests.functional.scrapyd_server import PROJECT_DIRECTORY, SPIDERS, Host, Server, wait_for
from tests.services.scrapyd import build_egg

PROJECT = "deployed"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("scrapyd")) as server:
        yield server


class Checkout:
    """A git checkout of the project in tests/spiders."""

    def __init__(self, path: Path):
        self.path = path
        shutil.copytree(PROJECT_DIRECTORY, path, ignore=shutil.ignore_patterns("__pycache__"))
        self.git("init", "--quiet")
        self.commit()

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
        argv = ["git", "-C", str(self.path), *identity, *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", "Change")
        return self.git("rev-parse", "HEAD")[:12]

    def add_spider(self) -> str:
        text = "from crawls.spiders.spiders import Pages\n\n\nclass Added(Pages):\n    name = 'added'\n"
        self.write("crawls/spiders/added.py", text)
        return self.commit()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


@pytest.fixture
def host(tmp_path: Path, minion: Minion, server: Server, checkout: Checkout) -> Iterator[Host]:
    host = Host(tmp_path, minion, server)
    host.configure(project=PROJECT, checkout=str(checkout.path))
    yield host
    if PROJECT in host.call("projects"):
        host.call("delete_project", PROJECT)


def test_a_checkout_is_deployed_once_a_revision(host: Host, checkout: Checkout) -> None:
    first = checkout.commit()
    checkout.write("crawls/spiders/broken.py", "this is not committed")
    plan = host.call("deploy", dry_run=True)
    assert host.call("projects") == []
    result = host.call("deploy")
    assert result["version"].endswith(f"-{first}")
    assert (result["deployed"], result["previous"], result["spiders"]) == (True, None, SPIDERS)
    assert result["notes"] == plan["notes"]
    assert "1 files in" in result["notes"][0]
    again = host.call("deploy")
    assert (again["deployed"], again["version"]) == (False, result["version"])
    (checkout.path / "crawls/spiders/broken.py").unlink()
    checkout.add_spider()
    second = host.call("deploy")
    assert (second["added"], second["removed"], second["previous"]) == (["added"], [], result["version"])
    back = host.call("deploy", revision=first)
    assert (back["deployed"], back["removed"]) == (True, ["added"])
    assert host.call("versions")[-1] == back["version"]
    assert host.call("spiders") == SPIDERS


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("crawls/settings.py", "import nothing_like_it\n", "No module named 'nothing_like_it'"),
        ("crawls/spiders/spiders.py", "", "it has no spiders"),
        ("setup.py", "raise SystemExit('setup.py is broken')\n", "cannot be built: setup.py is broken"),
        ("setup.py", "from setuptools import setup\nsetup(name='x')\n", "cannot be used, and was deleted"),
        ("scrapy.cfg", "[deploy]\n", "scrapy.cfg has no [settings] with a default"),
    ],
)
def test_what_does_not_work_leaves_the_version_before_in_use(
    host: Host, checkout: Checkout, name: str, text: str, message: str
) -> None:
    good = host.call("deploy")["version"]
    checkout.write(name, text)
    checkout.commit()
    with pytest.raises(CommandExecutionError) as error:
        host.call("deploy")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert host.call("versions") == [good]
    assert host.call("spiders") == SPIDERS


def test_the_first_deployment_of_a_broken_egg_leaves_no_project(host: Host, tmp_path: Path) -> None:
    egg = tmp_path / "broken.egg"
    egg.write_bytes(b"this is no egg")
    with pytest.raises(CommandExecutionError, match=r"egg is not a ZIP file"):
        host.call("deploy", egg=str(egg))
    assert host.call("projects") == []


def test_a_broken_version_that_a_killed_deployment_left_is_replaced(host: Host, checkout: Checkout) -> None:
    commit = checkout.commit()
    egg = build_egg(PROJECT_DIRECTORY).replace(b"crawls.settings", b"crawls.nothing_")
    left = f"1700000000-{commit}"
    with pytest.raises(Exception, match=r"nothing_|settings"):
        host.server._post("addversion", {"project": PROJECT, "version": left}, files={"egg": egg})
    assert host.call("versions") == [left]
    result = host.call("deploy")
    assert result["deployed"] is True
    assert "lists no spiders" in result["notes"][0]
    assert host.call("spiders") == SPIDERS


def test_an_egg_file_is_deployed_once(host: Host, tmp_path: Path) -> None:
    egg = tmp_path / "project.egg"
    egg.write_bytes(build_egg(PROJECT_DIRECTORY))
    assert host.call("deploy", egg=str(egg))["deployed"] is True
    assert host.call("deploy", egg=str(egg))["deployed"] is False
    assert host.call("deploy", egg=str(egg), version="2.0")["version"] == "2_0"
    assert host.call("deploy", egg=str(egg), version="2.0")["deployed"] is False
    assert host.call("delete_version", "2.0")["deleted"] == "2_0"


def test_a_version_that_would_not_be_used_is_refused(host: Host, tmp_path: Path) -> None:
    egg = tmp_path / "project.egg"
    egg.write_bytes(build_egg(PROJECT_DIRECTORY))
    host.call("deploy", egg=str(egg), version="r9-main")
    with pytest.raises(CommandExecutionError, match="crawls would not use it, since r9-main sorts after it"):
        host.call("deploy", egg=str(egg), version="r10-main")
    assert host.call("versions") == ["r9-main"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"revision": "nothing"}, "has no revision nothing"),
        ({"revision": "--output=/etc/x"}, "argument revision must be a commit, tag or branch"),
        ({"checkout": "/proc/nowhere"}, "argument checkout: there is no directory /proc/nowhere"),
        ({"egg": "/proc/nowhere"}, "argument egg: /proc/nowhere cannot be read: No such file or directory"),
        ({"python": "/proc/nowhere"}, "scrapyd:python: /proc/nowhere has no setuptools"),
        ({"project": "../x"}, "argument project must be fit for a file name"),
    ],
)
def test_wrong_arguments_are_told(host: Host, arguments: dict, message: str) -> None:
    with pytest.raises(CommandExecutionError) as error:
        host.call("deploy", **arguments)
    assert message in str(error.value)
    assert host.call("projects") == []


def test_what_a_crawl_uses_is_not_deleted(host: Host, checkout: Checkout) -> None:
    version = host.call("deploy")["version"]
    job = host.call("schedule", "slow")["job"]
    for function, argument in (("delete_version", version), ("delete_project", PROJECT)):
        with pytest.raises(CommandExecutionError, match=f"in use by 1 crawls: {job}"):
            host.call(function, argument)
    checkout.add_spider()
    second = host.call("deploy")["version"]
    wait_for(lambda: job in host.server.ids("running"))
    # It began with the first one, and was scheduled without a version.
    for deployed in (version, second):
        with pytest.raises(CommandExecutionError, match=f"in use by 1 crawls: {job}"):
            host.call("delete_version", deployed)
    host.call("cancel", job)
    assert host.call("delete_version", second, dry_run=True)["in_use"] == version
    assert host.call("delete_version", second)["in_use"] == version
    with pytest.raises(CommandExecutionError, match=f"has no version {second}"):
        host.call("delete_version", second)
    host.call("delete_project", PROJECT, dry_run=True)
    assert host.call("projects") == [PROJECT]
    assert host.call("delete_project", PROJECT) == {"deleted": PROJECT, "versions": [version]}
    with pytest.raises(CommandExecutionError, match="is unknown"):
        host.call("delete_project", PROJECT)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_git_and_setup_run_as_the_owner_of_the_checkout(host: Host) -> None:
    directory = Path(tempfile.mkdtemp())  # where nobody gets to
    try:
        directory.chmod(0o755)
        checkout = Checkout(directory / "checkout")
        (directory / "built.egg").write_bytes(build_egg(PROJECT_DIRECTORY))
        # Nobody may not run the Python of this environment.
        python = directory / "python"
        python.write_text(
            '#!/bin/sh\n[ "$(id -u)" != 0 ] && [ "$(id -g)" != 0 ] || exit 1\n[ "$1" != -c ] || exit 0\n'
            f'test -f scrapy.cfg || exit 1\nfor last; do :; done\ncp {directory}/built.egg "$last/x.egg"\n'
        )
        python.chmod(0o755)
        subprocess.run(["chown", "-R", "nobody", str(checkout.path)], check=True)
        assert host.call("deploy", str(checkout.path), python=str(python))["spiders"] == SPIDERS
    finally:
        shutil.rmtree(directory)
