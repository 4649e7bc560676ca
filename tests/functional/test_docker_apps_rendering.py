"""Applications as they are rendered from the example pillars: states, compose files, variables and cron jobs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.functional.conftest import ROOT, Minion
from tests.functional.test_rendering import argument, function, role_pillar, role_states, show

SECRET = "h1dden"
SERVICES = {
    "registry": {
        "registry": {"web", "exporter", "flattener", "wiper", "cron", "static"},
        "kingfisher_process": {
            "web", "api_loader", "file_worker", "compiler", "release_compiler", "record_compiler", "finisher", "wiper",
            "cron",
        },
    },
    "kingfisher-main": {
        "kingfisher_process": {
            "web", "api_loader", "file_worker", "checker", "compiler", "release_compiler", "record_compiler",
            "finisher", "wiper", "cron",
        },
        "pelican_backend": {"extract", "filter", "data_item", "dataset", "time_based", "report", "wipe", "cron"},
        "pelican_frontend": {"web", "static"},
    },
}  # fmt: skip
APPS = [(role, app) for role, apps in SERVICES.items() for app in apps]


NOBODY = {"user": "nobody-yet", "uid": 54321}


@pytest.fixture
def render(minion: Minion, tmp_path: Path) -> Callable[..., str]:
    """Return a function that renders the file of a state as file.managed does."""

    def rendered(state: dict[str, Any], pillar: dict[str, Any]) -> str:
        minion.set_pillar(pillar)
        target = tmp_path / "file"
        context = argument(state, "context") if "context" in str(state) else {}
        minion.call("cp.get_template", argument(state, "source"), str(target), **context)
        return target.read_text()

    return rendered


def test_the_examples_have_no_mistake(minion: Minion) -> None:
    for role in SERVICES:
        minion.set_pillar(role_pillar(role) | {"docker": NOBODY})
        assert minion.call("docker_apps.check") == []


@pytest.mark.parametrize(
    ("name", "more", "problem"),
    [
        ("registry", {}, "docker_apps:registry:host_dir is not set"),
        ("pelican_frontend", {"reports": True}, "docker_apps:pelican_frontend:host_dir is not set"),
        ("kingfisher_process", {}, "kingfisher_collect:env:FILES_STORE is not set"),
        ("pelican_frontend", {}, None),
        ("pelican_backend", {}, None),
    ],
)
def test_what_a_template_needs_is_told_before(
    minion: Minion, render: Callable[..., str], name: str, more: dict[str, Any], problem: str | None
) -> None:
    given: dict[str, Any] = {"docker": NOBODY, "docker_apps": {"mine": {"configuration": name, **more}}}
    minion.set_pillar(given)
    found = minion.call("docker_apps.check")
    assert [told.partition(",")[0] for told in found] == ([problem.replace(name, "mine")] if problem else [])
    if problem:
        given["docker_apps"]["mine"]["host_dir"] = "/srv/mine"
        given["kingfisher_collect"] = {"env": {"FILES_STORE": "/srv/data"}}
        minion.set_pillar(given)
        assert minion.call("docker_apps.check") == []
    state = show(minion, "docker_apps", given)["docker-app-mine-compose-file"]
    assert yaml.safe_load(render(state, given))["services"]


def test_every_template_is_of_an_example() -> None:
    templates = {path.stem for path in (ROOT / "salt/docker_apps/files").glob("*.yaml")}
    assert {app for _, app in APPS} == templates


def test_wrong_pillar_is_told_at_once_before_anything_is_changed(minion: Minion) -> None:
    given = role_pillar("registry") | {"docker": NOBODY}
    given["postgres"]["verson"] = 17
    given["postgres"]["databases"]["data_registry"]["user"] = "data_regsitry"
    given["docker_apps"]["registry"] |= {"migrat": "x", "cron": {"job": {"minute": 5}}}
    given["rabbitmq"]["users"] = {"app": {"password": SECRET, "permissions": {"/x": {}}}, "a;b": {"password": SECRET}}
    states = show(minion, ",".join(role_states("registry")), given)
    sections: dict[str, list[str]] = {"required": [], "optional": []}
    for state in states.values():
        if function(state) == "kingfisher_pillar.checked":
            for kind in sections:
                sections[kind] += argument(state, kind)
    ret = minion.state("kingfisher_pillar.checked", name="registry", **sections)
    assert (ret.result, ret.changes) == (False, {})
    for problem in (
        "postgres:verson is not a setting: did you mean version?",
        "postgres:databases:data_registry:user: data_regsitry is not in postgres:users: did you mean data_registry?",
        "docker_apps:registry:migrat is not a setting: did you mean migrate?",
        "docker_apps:registry:cron:job:command is not set",
        "rabbitmq:users:app:permissions: /x is not in rabbitmq:vhosts",
        "rabbitmq:users: 'a;b' must be of letters",
    ):
        assert problem in ret.comment
    assert SECRET not in ret.comment


@pytest.mark.parametrize(("role", "app"), APPS)
def test_a_compose_file(minion: Minion, render: Callable[..., str], role: str, app: str) -> None:
    given = role_pillar(role)
    entry = given["docker_apps"][app]
    states = show(minion, "docker_apps", given)
    state = states[f"docker-app-{app.replace('_', '-')}-compose-file"]
    found = yaml.safe_load(render(state, given))
    services = found["services"]
    assert set(services) == SERVICES[role][app]
    assert all(service["image"].startswith("ghcr.io/open-contracting/") for service in services.values())
    uid = given["docker"]["uid"]
    assert all(service["user"] == f"{uid}:{uid}" for name, service in services.items() if name == "web")
    assert {entry.get("service"), *(entry.get("workers") or [])} <= set(services)
    assert SECRET not in str(found)


def test_images_come_from_pillar(minion: Minion, render: Callable[..., str]) -> None:
    given = role_pillar("registry")
    given["docker_apps"]["registry"]["images"] = {"django": "mine.example/django:3", "static": "static:2"}
    state = show(minion, "docker_apps", given)["docker-app-registry-compose-file"]
    services = yaml.safe_load(render(state, given))["services"]
    assert {service["image"] for service in services.values()} == {"mine.example/django:3", "static:2"}


def test_no_secret_enters_a_state_and_all_enter_the_variables(minion: Minion, render: Callable[..., str]) -> None:
    given = role_pillar("registry")
    given["docker_apps"]["registry"]["env"] |= {"SECRET_KEY": f"{SECRET}'$x", "PLAIN": f"{SECRET} #$x", "NONE": None}
    states = show(minion, "docker_apps", given)
    assert SECRET not in str(states)
    state = states["docker-app-registry-variables"]
    assert argument(state, "mode") == "0400"
    assert argument(state, "show_changes") is False
    lines = render(state, given).splitlines()
    assert f"""SECRET_KEY="{SECRET}'\\$x\"""" in lines
    assert f"PLAIN='{SECRET} #$x'" in lines
    assert "NONE=''" in lines
    assert "DJANGO_PROXY='True'" in lines


def test_cron_jobs_are_there_unless_the_server_is_halted(minion: Minion, render: Callable[..., str]) -> None:
    given = role_pillar("registry")
    given["docker_apps"]["registry"]["cron"]["manageprocess"]["command"] = "python manage.py manageprocess 100%"
    state = show(minion, "docker_apps", given)["docker-apps-cron"]
    assert render(state, given).splitlines()[-1] == (
        "*/5 * * * * deployer cd /data/deploy/data-registry && docker compose run --rm -T --name "
        "registry-manageprocess cron python manage.py manageprocess 100\\%"
    )
    halted = show(minion, "docker_apps", given | {"maintenance": {"halted": True}})
    assert function(halted["docker-apps-cron"]) == "file.absent"
    assert function(halted["docker-app-registry"]) == "docker_apps.running"


def test_nothing_is_installed_without_a_section(minion: Minion) -> None:
    assert set(show(minion, "docker,docker_apps", {})) == {
        "docker-is-not-in-pillar",
        "docker-owned",
        "docker_apps-pillar",
        "docker-apps-pruned",
        "docker-apps-cron",
    }


def test_applications_without_a_user_are_refused(minion: Minion) -> None:
    states = show(minion, "docker_apps", {"docker_apps": {"registry": {}}})
    assert argument(states["docker_apps-pillar"], "required") == ["docker"]
    assert minion.call("docker_apps.check")[:2] == ["docker:user is not set", "docker:uid is not set"]
    assert not any(name.startswith("docker-app-") for name in states)


def test_packages_come_from_pillar(minion: Minion) -> None:
    given = {"docker": {"user": "deployer", "uid": 54321, "packages": ["docker-ce", "docker-compose-plugin"]}}
    assert argument(show(minion, "docker", given)["docker-packages"], "pkgs") == ["docker-ce", "docker-compose-plugin"]
