"""What is read of pillar and of Docker, and how what runs is compared with it."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from kingfisher_salt.docker_apps import config, health, owner, pin, prune, records
from kingfisher_salt.docker_apps.compose import (
    Container,
    Project,
    Service,
    _no_plugin,
    parse_containers,
    parse_image,
    parse_project,
    repository_of,
)
from kingfisher_salt.docker_apps.differences import differences, unwanted, wanted
from kingfisher_salt.docker_apps.secrets import Mask
from kingfisher_salt.errors import KingfisherError, SettingsError

IMAGE, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def app(tmp_path: Path = Path("/nowhere"), *, halted: bool = False, **settings: Any) -> config.App:
    return config.load(
        {"example": settings}, "example", halted=halted, directory=tmp_path, state_directory=tmp_path / "state"
    )


def service(name: str, **changed: Any) -> Service:
    return Service(**{"name": name, "reference": "app:1", "scale": 1, "enabled": True, "hash": "h", **changed})


def container(name: str, **changed: Any) -> Container:
    given = {
        "id": f"{name}-1",
        "service": name,
        "image": IMAGE,
        "status": "running",
        "health": None,
        "exit_code": 0,
        "started": "2026-01-01T00:00:00.123456789Z",
        "restarts": 0,
        "policy": "unless-stopped",
        "label": "l",
    }
    return Container(**{**given, **changed})


def compare(services: list[Service], containers: list[Container], **options: Any) -> dict[str, dict[str, str]]:
    project = Project("example", {each.name: each for each in services})
    images = {"app:1": {"id": IMAGE}}
    made = {each.name: ["h", "l"] for each in services}
    return differences(options.get("app", app()), project, containers, images, made)


# Settings


def test_the_defaults() -> None:
    found = app()
    assert found.directory == Path("/nowhere/example")
    assert (found.pull, found.migrate, found.workers, found.health["timeout"]) == (True, None, None, 120)
    assert app(target="example-app").directory == Path("/nowhere/example-app")


def test_settings_of_a_template_are_not_ours() -> None:
    assert app(site="example", port=8000, reports=True).name == "example"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"migrat": "x"}, "docker_apps:example:migrat is not a setting: did you mean migrate?"),
        ({"migrate": "python 'x"}, "docker_apps:example:migrate must be a command"),
        ({"target": "../etc"}, "docker_apps:example:target must be the name of a directory"),
        ({"health": {"url": "http://me:pw@host/"}}, "without credentials"),
        ({"env": {"A-B": 1}}, "docker_apps:example:env has 'A-B'"),
        ({"workers": "web"}, "docker_apps:example:workers must be a list"),
        ({"images": {"django": 5}}, "docker_apps:example:images must map the names"),
        ({"volumes": [5]}, "docker_apps:example:volumes must be a list of texts"),
        ({"cron": {"job": {"minute": 5}}}, "docker_apps:example:cron:job:command is not set"),
        ({"cron": {"job": None}}, "docker_apps:example:cron:job:command is not set"),
        ({"cron": {"a b": {"command": "x"}}}, "docker_apps:example:cron must have names that containers can have"),
        (
            {"cron": {"job": {"command": "x\n* * * * * root y"}}},
            "docker_apps:example:cron:job:command must be one line",
        ),
        ({"cron": {"job": {"command": "x", "hour": "5 *"}}}, "docker_apps:example:cron:job:hour must be a field"),
    ],
)
def test_a_mistake_is_told_with_its_place(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError, match=problem.replace("(", r"\(")):
        app(**settings)


def test_all_mistakes_are_told_at_once_and_no_value_of_a_variable() -> None:
    with pytest.raises(SettingsError) as e:
        app(env={"PASSWORD": ["h1dden"]}, pull="yes", timeout=0)
    assert str(e.value).startswith("3 problems")
    assert "h1dden" not in str(e.value)


def test_the_nearest_application_is_named() -> None:
    with pytest.raises(SettingsError, match="did you mean registry"):
        config.load({"registry": {}}, "regstry")


@pytest.mark.parametrize(
    ("users", "problem"),
    [
        ({}, None),
        ({"deployer": 1002}, None),
        ({"deployer": 1005}, r"docker:uid in pillar is 1002, and deployer \(docker:user\) is 1005 in /etc/passwd"),
        ({"james": 1002}, "docker:uid in pillar is 1002, which is james's in /etc/passwd"),
    ],
)
def test_the_owner(users: dict[str, int], problem: str | None) -> None:
    found = owner.problems({"user": "deployer", "uid": 1002, "syslog_logging": True}, users)
    assert not found if problem is None else re.search(problem, found[0])


def test_an_owner_that_is_not_set() -> None:
    assert owner.problems({}, {}) == ["docker:user is not set", "docker:uid is not set"]


# Secrets


def test_secrets_are_masked() -> None:
    mask = Mask(
        {"SECRET_KEY": "s3cret", "DATABASE_URL": "postgresql://me:pa55word@db/x", "DEBUG": True, "NAME": "web"}
    )
    said = "web uses s3cret and postgresql://me:pa55word@db/x, not amqp://you:0ther@mq; pa55word is wrong: True"
    assert mask(said) == "web uses ** and postgresql://me:**@db/x, not amqp://you:**@mq; ** is wrong: True"


# What Docker says


def test_a_project_is_read_without_its_variables() -> None:
    services = {
        "web": {"image": "app:1", "environment": {"KEY": "h1dden"}},
        "worker": {"image": "app:1", "deploy": {"replicas": 2}},
        "cron": {"image": "app:1", "profiles": ["cron"]},
        "made": {"build": "."},
        "many": {"image": "app:1", "scale": 3},
    }
    project = parse_project(json.dumps({"name": "example", "services": services}))
    assert {each.name: (each.scale, each.enabled) for each in project.services.values()} == {
        "web": (1, True),
        "worker": (2, True),
        "cron": (1, False),
        "made": (1, True),
        "many": (3, True),
    }
    assert project.services["made"].reference == "example-made"
    assert "h1dden" not in str(project)


def test_a_changed_variable_is_another_hash() -> None:
    one, other = (
        parse_project(json.dumps({"name": "x", "services": {"web": {"environment": {"KEY": value}}}})).services["web"]
        for value in "ab"
    )
    assert one.hash != other.hash


def test_containers_are_read() -> None:
    line = {
        "id": "1", "image": IMAGE, "status": "exited", "exit_code": 0, "started": "", "restarts": 0, "policy": "no",
        "labels": {"com.docker.compose.service": "once", "com.docker.compose.config-hash": "l"}, "health": None,
    }  # fmt: skip
    (found,) = parse_containers(f"{json.dumps(line)}\n\n")
    assert (found.service, found.label, found.over) == ("once", "l", True)


@pytest.mark.parametrize(
    ("reference", "repository"),
    [
        ("app", "app"),
        ("app:1", "app"),
        ("127.0.0.1:5000/a/app:1", "127.0.0.1:5000/a/app"),
        ("127.0.0.1:5000/app", "127.0.0.1:5000/app"),
        (f"ghcr.io/a/app@{IMAGE}", "ghcr.io/a/app"),
    ],
)
def test_the_repository_of_a_reference(reference: str, repository: str) -> None:
    assert repository_of(reference) == repository


def test_the_digest_is_that_of_the_own_repository() -> None:
    text = json.dumps({"id": IMAGE, "digests": [f"other@{OTHER}", f"app@{IMAGE}"]})
    assert parse_image(text, "app:1") == {"reference": "app:1", "id": IMAGE, "digest": f"app@{IMAGE}"}
    assert parse_image(json.dumps({"id": IMAGE, "digests": None}), "app:1")["digest"] is None


def test_only_the_old_docker_compose() -> None:
    said = _no_plugin("'compose' is not a docker command", lambda *_, **__: "/usr/bin/docker-compose")
    assert said.startswith("only the old docker-compose is on this server")
    assert "cannot be used (no)" in _no_plugin("no", lambda *_, **__: None)


# Comparing


def test_nothing_differs() -> None:
    services = [service("web"), service("cron", enabled=False), service("once")]
    containers = [container("web"), container("once", status="exited", policy="no")]
    assert compare(services, containers) == {}


@pytest.mark.parametrize(
    ("containers", "old", "new"),
    [
        ([], "none", "running aaaaaaaaaaaa"),
        ([container("web", image=OTHER)], "running bbbbbbbbbbbb", "running aaaaaaaaaaaa"),
        ([container("web", label="by hand")], "running with other settings", "running with the compose file's"),
        ([container("web", status="exited", exit_code=1)], "exited", "running"),
        ([container("web"), container("web", id="web-2")], "2 containers", "1 containers"),
    ],
)
def test_a_difference(containers: list[Container], old: str, new: str) -> None:
    assert compare([service("web")], containers) == {"web": {"old": old, "new": new}}


def test_a_service_that_the_compose_file_lost() -> None:
    assert set(compare([service("web")], [container("web"), container("old")])) == {"old"}


def test_workers_stop_while_halted() -> None:
    services = [service("web"), service("worker")]
    running = [container("web"), container("worker")]
    project = Project("example", {each.name: each for each in services})
    some = app(halted=True, workers=["worker"])
    assert (wanted(some, project), unwanted(some, project)) == (["web"], ["worker"])
    assert set(compare(services, running, app=some)) == {"worker"}
    assert set(compare(services, running, app=app(halted=True))) == {"web", "worker"}
    assert compare(services, [container("web"), container("worker", status="exited")], app=some) == {}


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        ({}, None),
        ({"health": "healthy", "started": "2999-01-01T00:00:00Z"}, None),
        ({"status": "exited", "policy": "no"}, None),
        ({"status": "exited", "policy": "no", "exit_code": 1}, "is exited (exit code 1)"),
        ({"status": "restarting", "exit_code": 2}, "is restarting (exit code 2)"),
        ({"health": "unhealthy"}, "is unhealthy, says its health check"),
        ({"started": "2999-01-01T00:00:00Z"}, None),
    ],
)
def test_a_container_that_is_well(changed: dict[str, Any], wrong: str | None) -> None:
    assert health._container(container("web", **changed)) == wrong


def test_a_container_that_is_restarted_again_and_again_is_not_well() -> None:
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000000001Z")
    assert health._container(container("web", started=now, restarts=3)) == "was restarted less than 3 s ago"


# Files


def test_a_pin_holds_until_the_compose_file_names_another_image(tmp_path: Path) -> None:
    example = app(tmp_path)
    example.directory.mkdir()
    pin.write(example, {"web": {"id": OTHER}}, {"web": "app:1", "cron": "app:1", "db": "db:1"}, "now")
    written = json.loads((example.directory / pin.PIN_FILE).read_text())
    assert set(written["services"]) == {"web", "cron"}
    assert written["services"]["web"] == {"image": f"kingfisher-kept/example:{'b' * 12}", "pull_policy": "never"}
    found = pin.read(example)
    same = Project("example", {name: service(name) for name in ("web", "cron")})
    assert pin.holds(found, same)
    assert not pin.holds(
        found, Project("example", {"web": service("web", reference="app:2"), "cron": service("cron")})
    )
    pin.remove(example)
    assert pin.read(example) is None


def test_an_override_of_somebody_else_is_refused(tmp_path: Path) -> None:
    example = app(tmp_path)
    example.directory.mkdir()
    (example.directory / pin.PIN_FILE).write_text("services: {}\n")
    with pytest.raises(KingfisherError, match=r"docker-compose\.override\.yaml is not ours"):
        pin.read(example)


def test_a_record_comes_back_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    record = records.new(tmp_path / "state", "example", tmp_path)
    record.good = {"web": {"reference": "app:1", "id": IMAGE, "digest": None}}
    record.write()
    assert records.read(tmp_path / "state", "example") == record
    assert record.path.stat().st_mode & 0o777 == 0o600
    record.path.write_text('{"app": "example", "odd": 1}')
    with pytest.raises(KingfisherError, match="is damaged"):
        records.read(tmp_path / "state", "example")


def test_only_what_is_marked_is_pruned(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for directory in (ours, theirs):
        directory.mkdir()
        (directory / "docker-compose.yaml").touch()
    state = tmp_path / "state"
    assert prune.prune(state, {"ours": ours}, dry_run=True) == {"changes": {}, "notes": []}
    assert not state.exists()
    prune.prune(state, {"ours": ours}, dry_run=False)
    assert set(prune.prune(state, {}, dry_run=True)["changes"]) == {"ours"}
    assert ours.exists()
    assert set(prune.prune(state, {}, dry_run=False)["changes"]) == {"ours"}
    assert (ours.exists(), theirs.exists()) == (False, True)
    assert prune.prune(state, {}, dry_run=False) == {"changes": {}, "notes": []}
