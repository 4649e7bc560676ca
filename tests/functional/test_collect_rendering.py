"""The states of a server that collects, as they are rendered from the example pillar, and the files they put there."""

from __future__ import annotations

import configparser
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kingfisher_salt.incremental import config

from tests.functional.conftest import ROOT, Minion
from tests.functional.test_rendering import argument, function, show

SECRET = "h1dden"
NASTY = f'{SECRET} "$x" it\'s 100% \\ `y`'


@pytest.fixture
def pillar() -> dict[str, Any]:
    """Return the example pillar, for a test to change."""
    return yaml.safe_load((ROOT / "pillar/collect.sls").read_text())


@pytest.fixture
def render(minion: Minion, tmp_path: Path) -> Callable[[str, dict[str, Any]], str]:
    """Return a function that renders a template as file.managed does."""

    def rendered(name: str, pillar: dict[str, Any]) -> str:
        minion.set_pillar(pillar)
        target = tmp_path / name
        minion.call("cp.get_template", f"salt://kingfisher/collect/files/{name}", str(target))
        return target.read_text()

    return rendered


def requisites(state: dict[str, Any], kind: str) -> set[str]:
    found = argument(state, kind)
    return {name for each in found for name in ([each] if isinstance(each, str) else each.values())}


def test_the_example_pillar_has_no_mistake(pillar: dict[str, Any]) -> None:
    loaded, problems = config.load(pillar["python_apps"]["kingfisher_collect"], None)
    assert problems == []
    assert loaded
    assert [crawl.identifier for crawl in loaded.crawls] == ["DOMINICAN_REPUBLIC", "ECUADOR"]


def test_defaults_of_the_states_are_those_of_the_library(minion: Minion, pillar: dict[str, Any]) -> None:
    app = {"user": "somebody"}
    loaded, _ = config.load(app, None)
    assert loaded
    states = show(minion, "kingfisher.collect.incremental", {"python_apps": {"kingfisher_collect": app}})
    assert argument(states["kingfisher-incremental-user"], "home") == str(loaded.directory)
    given = {**app, "git": {"url": "https://example.com/x.git"}}
    states = show(minion, "kingfisher.collect.incremental", {"python_apps": {"kingfisher_collect": given}})
    assert argument(states["kingfisher-incremental-checkout"], "target") == str(loaded.checkout)
    assert str(loaded.virtualenv) in argument(states["kingfisher-incremental-virtualenv"], "name")
    del pillar["kingfisher_collect"]
    assert "kingfisher-incremental-crawls" in show(minion, "kingfisher.collect", pillar)


def test_a_restart_is_between_drain_and_resume(minion: Minion, pillar: dict[str, Any]) -> None:
    states = show(minion, "kingfisher.collect", pillar)
    drained, venv = states["kingfisher-collect-drained"], states["kingfisher-collect-virtualenv"]
    service, resumed = states["kingfisher-collect-service"], states["kingfisher-collect-resumed"]
    assert (function(drained), function(resumed)) == ("scrapyd.drained", "scrapyd.resumed")
    causes = {
        "kingfisher-collect-requirements",
        "kingfisher-collect-configuration",
        "kingfisher-collect-environment",
        "kingfisher-collect-unit",
        "kingfisher-collect-files-are-not-in-use",
        "kingfisher-collect-virtualenv-is-out-of-date",
    }
    assert requisites(drained, "onchanges") == causes
    assert requisites(service, "watch") - {"kingfisher-collect-virtualenv"} <= causes
    assert "kingfisher-collect-drained" in requisites(venv, "require") & requisites(service, "require")
    assert requisites(resumed, "require") == {"kingfisher-collect-service"}


def test_the_configuration_is_one_of_scrapyd(render: Callable[..., str], pillar: dict[str, Any]) -> None:
    pillar["kingfisher_collect"]["scrapyd"]["max_proc"] = 7
    parser = configparser.ConfigParser()
    parser.read_string(render("scrapyd.conf.jinja", pillar))
    section = dict(parser["scrapyd"])
    assert section["max_proc"] == "7"
    assert section["bind_address"] == "127.0.0.1"
    assert section["jobs_dir"] == "/home/collect/scrapyd/jobs"
    assert section["jobstorage"] == "scrapyd.jobstorage.SqliteJobStorage"
    assert "password" not in section


def test_scrapyd_starts_with_it(render: Callable[..., str], pillar: dict[str, Any], tmp_path: Path) -> None:
    host = pillar["kingfisher_collect"]
    host["directory"] = str(tmp_path / "scrapyd")
    host["scrapyd"]["prefix_header"] = "100%(x)s"
    pillar["scrapyd"] |= {"username": "collect", "password": NASTY}
    (tmp_path / "scrapyd.conf").write_text(render("scrapyd.conf.jinja", pillar))
    code = (
        "from scrapyd.config import Config; from scrapyd import get_application; import json; config = Config();"
        "get_application(config); print(config.get('username'), config.get('jobs_dir'), config.getint('max_proc'));"
        "print(config.get('prefix_header'), config.get('password'))"
    )
    said = subprocess.run(
        [ROOT / ".venv-scrapyd/bin/python", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines()[-2:] == [f"collect {tmp_path}/scrapyd/jobs 0", f"100%(x)s {NASTY}"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"jobs_dir": "/srv/jobs", "password": SECRET}, "must not have jobs_dir, password: directories follow from"),
        ({"poll_interval": f"5\nusername = {SECRET}"}, "must have options of one line, and 'poll_interval' has more"),
    ],
)
def test_an_option_that_the_states_set_is_refused(
    minion: Minion, pillar: dict[str, Any], options: dict[str, str], problem: str
) -> None:
    pillar["kingfisher_collect"]["scrapyd"] |= options
    minion.set_pillar(pillar)
    (found,) = minion.call("kingfisher_pillar.problems")
    assert found.startswith(f"kingfisher_collect:scrapyd {problem}")
    assert SECRET not in found


def test_a_service_says_of_which_files_it_was_started(
    minion: Minion, render: Callable[..., str], pillar: dict[str, Any]
) -> None:
    pillar["kingfisher_collect"] |= {"directory": "/srv/it's $HOME", "environment_file": "/etc/100%.env"}
    unit = render("scrapyd.service.jinja", pillar)
    (started,) = [line for line in unit.splitlines() if line.startswith("ExecStartPre=")]
    command = json.loads(started.partition(" -c ")[2]).replace("$$", "$").replace("%%", "%")
    states = show(minion, "kingfisher.collect", pillar)
    (check,) = argument(states["kingfisher-collect-files-are-not-in-use"], "unless")
    sums, _, stamp = check.partition(" | cmp -s - ")
    assert command == f"umask 077; {sums} >{stamp}"
    assert shlex.split(sums)[1:] == [
        "/srv/it's $HOME/scrapyd.conf",
        "/etc/100%.env",
        "/etc/systemd/system/scrapyd.service",
    ]


def test_the_unit_is_one_of_systemd(render: Callable[..., str], pillar: dict[str, Any], tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("systemd is not on this machine")
    pillar["kingfisher_collect"] |= {"user": "daemon", "group": "daemon", "directory": str(tmp_path)}
    (tmp_path / ".ve/bin").mkdir(parents=True)
    (tmp_path / ".ve/bin/scrapyd").symlink_to("/bin/true")
    unit = tmp_path / "scrapyd.service"
    unit.write_text(render("scrapyd.service.jinja", pillar))
    ended = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True)
    assert [line for line in ended.stderr.splitlines() if "scrapyd" in line] == []


def test_the_environment_is_whole_and_quoted(render: Callable[..., str], pillar: dict[str, Any]) -> None:
    pillar["kingfisher_collect"]["env"]["RABBIT_URL"] = NASTY
    pillar["tinyproxy"] = {"url": "http://proxy.example.com:8888"}
    text = render("environment.jinja", pillar)
    # Of what systemd reads, a shell reads the same.
    said = subprocess.run(
        ["/bin/sh", "-c", f"set -a\n{text}\nexec env"], capture_output=True, text=True, check=True, env={}
    ).stdout.splitlines()
    assert {f"RABBIT_URL={NASTY}", "FILES_STORE=/home/collect/scrapyd/data"} <= set(said)
    assert {"https_proxy=http://proxy.example.com:8888", "no_proxy=localhost,127.0.0.1"} <= set(said)


def test_the_schedule_writes_reports_and_prunes_by_the_archive(
    render: Callable[..., str], pillar: dict[str, Any]
) -> None:
    pillar["kingfisher_collect"] |= {"retention_days": 90, "mailto": "sysadmin@example.com"}
    lines = [line for line in render("cron.jinja", pillar).splitlines() if not line.startswith("#")]
    assert lines[0] == "MAILTO=sysadmin@example.com"
    assert lines[1].startswith("0 * * * * root output=$(")
    assert "scrapyd.write_reports" in lines[1]
    assert "kingfisher.prune days=90" in lines[2]
    assert len(lines) == 3


def test_retention_needs_the_archive(minion: Minion, pillar: dict[str, Any]) -> None:
    pillar["kingfisher_collect"]["retention_days"] = 90
    del pillar["kingfisher_archive"]
    (problem,) = argument(show(minion, "kingfisher.collect", pillar)["kingfisher-collect-pillar"], "problems")
    assert problem.startswith("kingfisher_collect:retention_days deletes crawls that the archive has decided on")
    pillar["kingfisher_archive"] = {"bucket": "x"}
    assert argument(show(minion, "kingfisher.collect", pillar)["kingfisher-collect-pillar"], "problems") == []


def test_no_secret_enters_a_state(minion: Minion, pillar: dict[str, Any]) -> None:
    pillar["kingfisher_collect"]["env"]["RABBIT_URL"] = SECRET
    app = pillar["python_apps"]["kingfisher_collect"]
    app["database"]["password"] = SECRET
    app["env"]["SENTRY_DSN"] = SECRET
    pillar["scrapyd"] |= {"username": "collect", "password": SECRET}
    server = {"url": "https://collect.example.com/", "project": "x", "username": "collect", "password": SECRET}
    pillar["kingfisher_operators"] = {"james": {"registry": server}}
    states = show(minion, "kingfisher.collect", pillar)
    assert {"kingfisher-operator-james", "kingfisher-incremental-crawls", "kingfisher-collect-service"} <= set(states)
    assert SECRET not in str(states)
    for name in ("kingfisher-collect-configuration", "kingfisher-collect-environment"):
        assert argument(states[name], "mode") == "0600"
        assert argument(states[name], "show_changes") is False


@pytest.mark.parametrize(
    "sls", ["kingfisher.collect", "kingfisher.collect.incremental", "kingfisher.collect.operator"]
)
def test_each_renders_without_pillar(minion: Minion, sls: str) -> None:
    # The pillar is checked, and what was there before is removed.
    harmless = {"kingfisher_pillar.checked", "kingfisher_owned.only", "test.nop", "file.absent"}
    assert {function(state) for state in show(minion, sls, {}).values()} <= harmless


def test_the_virtual_environment_is_made_once_and_again_when_its_requirements_change(
    minion: Minion, pillar: dict[str, Any], tmp_path: Path
) -> None:
    directory, requirements = tmp_path / "it's", tmp_path / "it's" / "requirements.txt"
    directory.mkdir()
    pillar["kingfisher_collect"] |= {"directory": str(directory), "python": sys.executable}
    states = show(minion, "kingfisher.collect", pillar)
    make = argument(states["kingfisher-collect-virtualenv"], "name")
    (check,) = argument(states["kingfisher-collect-virtualenv"], "unless")
    assert argument(states["kingfisher-collect-virtualenv-is-out-of-date"], "unless") == [check]

    def is_current() -> bool:
        return subprocess.run(["/bin/sh", "-c", check], stderr=subprocess.DEVNULL).returncode == 0

    requirements.write_text("# nothing\n")
    assert not is_current()
    subprocess.run(["/bin/sh", "-c", make], check=True)
    assert is_current()
    requirements.write_text("no-such-package-of-ours @ file:///nowhere\n")
    assert not is_current()
    assert subprocess.run(["/bin/sh", "-c", make], capture_output=True).returncode != 0
    assert not is_current()  # what failed is done again
