"""Every SLS renders, in seconds and without a host, for the example pillar and for what it may be changed to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment
from salt.utils.dictupdate import merge_recurse

from tests.functional.conftest import ROOT, Minion

SLS = sorted(
    ".".join(path.relative_to(ROOT / "salt").with_suffix("").parts).removesuffix(".init")
    for path in (ROOT / "salt").rglob("*.sls")
    if path.name != "top.sls"
)
#: All of them at once: no two have a state of the same name.
ALL = ",".join(SLS)
ROLES = [role for role in yaml.safe_load((ROOT / "pillar/top.sls").read_text())["base"] if role != "*"]
TEMPLATES = {
    str(path.relative_to(ROOT / "salt"))
    for path in (*(ROOT / "salt").rglob("*.jinja"), *(ROOT / "salt/docker_apps/files").glob("*.yaml"))
}
#: A section of pillar that is in the examples as a comment.
APP = {
    "user": "example",
    "git": {"url": "https://git.example/app.git"},
    "env": {"TOKEN": "$ecret"},
    "config": {"app/settings.json": "salt://minion/files/requirements.txt"},
    "services": {"worker": {"command": "python worker.py"}},
    "timers": {"report": {"command": "python report.py", "calendar": "daily"}},
    "cron": {"run": {"command": "python run.py", "hour": 5}},
}
#: What examples have as a comment, or as a secret, and what they have in another way.
OTHERWISE: dict[str, dict[str, Any]] = {
    "registry": {
        "time": {"client": "chrony", "servers": ["0.pool.ntp.org"]},
        "postgres": {"backup": {"type": "pgbackrest", "stanza": "registry", "repo_type": "posix"}},
    },
    "deposit": {
        "deposit": {
            "clients": {"checker": {"password": "h1dden"}},
            "server": {
                "broker": "amqp://h1dden@rabbitmq.example/",
                "config": {"private": {"secret_key": "h1dden", "db": {"password": "h1dden"}}},
            },
        }
    },
}
#: What examples leave to private/, though a role cannot be without.
SECRETS = {"kingfisher-replica": {"postgres": {"replication": {"password": "h1dden"}}}}
LAST_RUN = "/var/lib/kingfisher-archive/last-run.txt"
DSN = "https://c0ffee5ecre7@sentry.example/1"


@pytest.fixture(autouse=True, scope="module")
def compiled_once() -> Iterator[None]:
    """Compile a template once, not once for each rendering: Salt's environments are all of the same kind."""
    compile_it, compiled = Environment.compile, {}

    def compile_once(environment: Environment, *arguments: Any, **options: Any) -> Any:
        key = (*arguments, *sorted(options.items()))
        if key not in compiled:
            compiled[key] = compile_it(environment, *arguments, **options)
        return compiled[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Environment, "compile", compile_once)
        yield


@pytest.fixture
def pillar() -> dict[str, Any]:
    """Return the example pillar, for a test to change."""
    return yaml.safe_load((ROOT / "pillar/registry.sls").read_text())


@pytest.fixture
def grains(minion: Minion) -> Iterator[dict[str, Any]]:
    """Return the minion's grains, for a test to change."""
    before = dict(minion.grains)
    yield minion.grains
    minion.grains.clear()
    minion.grains.update(before)


def show(minion: Minion, sls: str, pillar: dict[str, Any]) -> dict[str, Any]:
    """Return the states of an SLS, by id, as lists of function and arguments."""
    minion.set_pillar(pillar)
    states = minion.call("state.show_sls", sls)
    assert isinstance(states, dict), states
    return {name: {k: v for k, v in state.items() if not k.startswith("__")} for name, state in states.items()}


def function(state: dict[str, Any]) -> str:
    (module, parts), *_ = state.items()
    return f"{module}.{next(part for part in parts if isinstance(part, str))}"


def argument(state: dict[str, Any], name: str) -> Any:
    return next(part[name] for parts in state.values() for part in parts if isinstance(part, dict) and name in part)


def test_there_are_states() -> None:
    assert {"minion", "kingfisher.archive"} <= set(SLS)


def role_pillar(role: str) -> dict[str, Any]:
    """Return the example pillar of a role, as pillar/top.sls puts it together."""
    top = yaml.safe_load((ROOT / "pillar/top.sls").read_text())["base"]
    pillar: dict[str, Any] = {}
    for name in [*top["*"], *top[role]]:
        path = ROOT / f"pillar/{name}.sls" if isinstance(name, str) else None
        if path and path.exists():
            pillar |= yaml.safe_load(path.read_text())
    if "python_apps" in pillar:
        pillar["python_apps"]["example_app"] = APP
    return pillar


def role_states(role: str) -> list[str]:
    """Return what salt/top.sls has for a role."""
    top = yaml.safe_load((ROOT / "salt/top.sls").read_text())["base"]
    return [
        name
        for target, names in top.items()
        if target == "*" or role in target.split()  # "A or B", with match: compound
        for name in names
        if isinstance(name, str)
    ]


@pytest.mark.parametrize("role", ROLES)
def test_the_example_pillar(minion: Minion, role: str) -> None:
    assert show(minion, ALL, role_pillar(role))


@pytest.mark.parametrize("sls", SLS)
def test_an_empty_pillar(minion: Minion, sls: str) -> None:
    assert show(minion, sls, {})


@pytest.mark.parametrize("role", ROLES)
def test_a_server_that_is_halted(minion: Minion, role: str) -> None:
    assert show(minion, ALL, {**role_pillar(role), "maintenance": {"halted": True}})


@pytest.mark.parametrize("role", ROLES)
def test_a_section_that_is_missing_or_empty(minion: Minion, role: str) -> None:
    pillar = role_pillar(role)
    states = ",".join(role_states(role))
    for section in pillar:
        assert show(minion, states, {name: value for name, value in pillar.items() if name != section}), section
        assert show(minion, states, {**pillar, section: None}), section


@pytest.mark.parametrize("role", ROLES)
def test_the_example_pillar_has_no_problem(minion: Minion, role: str) -> None:
    pillar = merge_recurse(role_pillar(role), SECRETS.get(role, {}))
    if "docker" in pillar:
        pillar["docker"]["uid"] = 54321  # which nobody has where the tests run
    minion.set_pillar(pillar)
    assert minion.call("kingfisher_pillar.problems") == []


@pytest.mark.parametrize(
    ("role", "sections"),
    [
        ("registry", "postgres rabbitmq docker docker_apps kingfisher_archive kingfisher_collect scrapyd"),
        ("kingfisher-main", "postgres rabbitmq docker docker_apps kingfisher_collect scrapyd python_apps users ssh"),
        ("kingfisher-replica", "postgres"),
        ("deposit", "deposit"),
        ("docs", "tinyproxy"),
    ],
)
def test_the_example_pillar_makes_the_role(role: str, sections: str) -> None:
    assert set(sections.split()) <= set(role_pillar(role))


def test_the_replica_has_a_primary() -> None:
    primary, replica = (role_pillar(role)["postgres"] for role in ("kingfisher-main", "kingfisher-replica"))
    assert primary["users"][replica["replication"]["user"]]["replication"] is True
    assert primary["replica_ipv4"]
    settings = [each["configuration"]["context"]["max_connections"] for each in (primary, replica)]
    assert settings[0] <= settings[1]


def test_every_role_has_states_and_every_state_a_role() -> None:
    assert all(len(role_states(role)) > len(role_states("*")) for role in ROLES)
    included = set(
        re.findall(r"^  - ([a-z_.]+)$", "".join(p.read_text() for p in (ROOT / "salt").rglob("*.sls")), re.MULTILINE)
    )
    assert {sls for role in ROLES for sls in role_states(role)} | included == set(SLS)


def test_every_template_is_rendered(minion: Minion) -> None:
    rendered: set[str] = set()
    pillars = [(role, role_pillar(role)) for role in ROLES]
    pillars += [(role, merge_recurse(role_pillar(role), more)) for role, more in OTHERWISE.items()]
    for role, pillar in pillars:
        for state in show(minion, ",".join(role_states(role)), pillar).values():
            for source, context in templates(state):
                minion.call("slsutil.renderer", path=source, default_renderer="jinja", **context)
                rendered.add(source.removeprefix("salt://"))
    imported = {
        name
        for path in (ROOT / "salt").rglob("*.*")
        if path.suffix in {".sls", ".jinja"}
        for name in re.findall(r'(?:from|include) "([^"]+)"', path.read_text())
    }
    assert rendered | imported >= TEMPLATES
    assert imported <= TEMPLATES


def templates(state: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the templates of a state of files, and what they are given."""
    for parts in state.values():
        given: dict[str, Any] = {}
        for part in parts:
            given |= part if isinstance(part, dict) else {}
        names = given.get("names", [None])
        for name in names:
            own = (
                {k: v for part in next(iter(name.values())) for k, v in part.items()} if isinstance(name, dict) else {}
            )
            source, template = ({**given, **own}.get(key, "") for key in ("source", "template"))
            assert template == "jinja" or not str(source).endswith(".jinja")
            if source and template:
                yield source, {**given.get("context", {}), **own.get("context", {})}


def test_the_top_file_names_states_that_there_are(minion: Minion, pillar: dict[str, Any]) -> None:
    minion.set_pillar(pillar)
    assert set(minion.call("state.show_top")["base"]) <= set(SLS)
    assert "kingfisher-archive-cron" in minion.call("state.show_highstate")


@pytest.mark.parametrize("sls", SLS)
def test_no_secret_enters_a_state(minion: Minion, pillar: dict[str, Any], sls: str) -> None:
    archive = pillar["kingfisher_archive"]
    archive["sentry_dsn"] = DSN
    archive["s3"] |= {"access_key_id": "AKIA", "secret_access_key": "h1dden", "session_token": "h1dden"}
    archive["database"]["password"] = "h1dden"
    text = str(show(minion, sls, pillar))
    assert "h1dden" not in text
    assert DSN not in text


# minion


def test_a_onedir_is_found(minion: Minion, grains: dict[str, Any]) -> None:
    grains |= {"package": "onedir", "pythonexecutable": "/opt/saltstack/salt/bin/python3.10"}
    state = show(minion, "minion", {})["minion-python-requirements"]
    assert argument(state, "name").startswith("/opt/saltstack/salt/salt-pip install ")
    assert argument(state, "unless")[0].startswith("/opt/saltstack/salt/bin/python3.10 -c ")


def test_a_venv_is_found(minion: Minion, grains: dict[str, Any]) -> None:
    grains |= {"package": "pip", "pythonexecutable": "/srv/my salt/bin/python"}
    state = show(minion, "minion", {})["minion-python-requirements"]
    assert argument(state, "name").startswith("'/srv/my salt/bin/python' -m pip install ")


def test_distribution_packages_are_found(minion: Minion, grains: dict[str, Any]) -> None:
    grains |= {"package": None, "pythonexecutable": "/usr/bin/python3"}
    states = show(minion, "minion", {})
    assert list(states) == ["minion-python-packages"]
    assert "python3-boto3" in argument(states["minion-python-packages"], "pkgs")


def test_salt_ssh_brings_boto3(minion: Minion, grains: dict[str, Any]) -> None:
    thin = "/var/tmp/.root_a1b2c3_salt/py3/salt"
    grains |= {"package": None, "pythonexecutable": "/usr/bin/python3", "saltpath": thin}
    packages = argument(show(minion, "minion", {})["minion-python-packages"], "pkgs")
    assert packages == ["python3-lz4", "python3-pika", "python3-psycopg2", "python3-xxhash"]


def test_pillar_has_the_last_word(minion: Minion) -> None:
    assert list(show(minion, "minion", {"minion": {"python": "packages"}})) == ["minion-python-packages"]
    failed = show(minion, "minion", {"minion": {"python": "conda"}})["minion-python-is-unknown"]
    assert argument(failed, "name") == "minion:python must be one of onedir, venv, packages, not conda"


@pytest.mark.parametrize(("version", "is_there"), [([3006, 28], True), ([3008, 3], False)])
def test_the_sentry_client_is_installed_where_salt_has_a_handler(
    minion: Minion, grains: dict[str, Any], pillar: dict[str, Any], version: list[int], is_there: bool
) -> None:
    grains |= {"saltversioninfo": version}
    assert "minion-python-sentry" not in show(minion, "minion", pillar)
    pillar["kingfisher_archive"]["sentry_dsn"] = DSN
    assert ("minion-python-sentry" in show(minion, "minion", pillar)) is is_there
    archive = show(minion, "kingfisher.archive", pillar)
    assert ("kingfisher-archive-has-no-sentry" in archive) is not is_there


# kingfisher.archive


@pytest.mark.parametrize(
    ("schedule", "cron", "salt"),
    [
        ({}, "file.managed", None),
        ({"by": "cron"}, "file.managed", None),
        ({"by": "salt"}, "file.absent", "schedule.present"),
        (None, "file.absent", None),
    ],
)
def test_a_schedule_has_one_place(
    minion: Minion, pillar: dict[str, Any], schedule: dict[str, Any] | None, cron: str, salt: str | None
) -> None:
    pillar["kingfisher_archive"]["schedule"] = schedule
    states = show(minion, "kingfisher.archive", pillar)
    assert function(states["kingfisher-archive-cron"]) == cron
    found = states.get("kingfisher-archive-salt-schedule")
    assert (function(found) if found else None) == salt


def cron(minion: Minion, pillar: dict[str, Any]) -> list[str]:
    minion.set_pillar(pillar)
    path = "salt://kingfisher/archive/files/cron.jinja"
    return minion.call("slsutil.renderer", path=path, default_renderer="jinja").splitlines()


def test_the_cron_file(minion: Minion, pillar: dict[str, Any]) -> None:
    lines = cron(minion, pillar)
    assert lines[:-1] == [
        f"# Managed by Salt: kingfisher/archive. What the last run said is in {LAST_RUN}.",
        "# Nothing is printed, and so no mail is sent, unless a run fails.",
    ]
    assert lines[-1].startswith("0 3 * * * root /")
    assert lines[-1].endswith(f" --retcode-passthrough kingfisher.archive >{LAST_RUN} 2>&1 || cat {LAST_RUN}")


def test_a_percent_sign_does_not_end_the_command(minion: Minion, pillar: dict[str, Any]) -> None:
    pillar["kingfisher_archive"]["cache_file"] = "/srv/100% mine/cache.sqlite"
    assert ">'/srv/100\\% mine/last-run.txt' 2>&1" in cron(minion, pillar)[-1]


def test_a_server_without_a_minion_cannot_have_a_schedule(
    minion: Minion, grains: dict[str, Any], pillar: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    grains |= {"pythonexecutable": "/nowhere/python3", "saltpath": "/var/tmp/.root_a1b2c3_salt/py3/salt"}
    monkeypatch.setenv("PATH", str(tmp_path))
    states = show(minion, "kingfisher.archive", pillar)
    assert function(states["kingfisher-archive-schedule-needs-a-minion"]) == "test.fail_without_changes"
    assert function(states["kingfisher-archive-cron"]) == "file.absent"
    assert "kingfisher-archive-minion-configuration" not in states
