"""Applications as they are rendered from the example pillars: states, compose files, variables and cron jobs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.functional.conftest import ROOT, Minion
from tests.functional.test_rendering import argument, function, show

SECRET = "h1dden"
SERVICES = {
    "registry": {
        "registry": {"web", "exporter", "flattener", "wiper", "cron", "static"},
        "kingfisher_process": {
            "web", "api_loader", "file_worker", "compiler", "release_compiler", "record_compiler", "finisher", "wiper",
            "cron",
        },
    },
    "collect": {
        "kingfisher_process": {
            "web", "api_loader", "file_worker", "checker", "compiler", "release_compiler", "record_compiler",
            "finisher", "wiper", "cron",
        },
        "pelican_backend": {"extract", "filter", "data_item", "dataset", "time_based", "report", "wipe", "cron"},
        "pelican_frontend": {"web", "static"},
    },
}  # fmt: skip
APPS = [(example, app) for example, apps in SERVICES.items() for app in apps]


def pillar(example: str) -> dict[str, Any]:
    """Return an example pillar, as it is for the host that it is for."""
    found = yaml.safe_load((ROOT / f"pillar/{example}.sls").read_text())
    found.setdefault("kingfisher_collect", {"env": {"FILES_STORE": "/home/collect/scrapyd/data"}})
    return found


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
    for example in SERVICES:
        minion.set_pillar(pillar(example) | {"docker": {"user": "nobody-yet", "uid": 54321}})
        assert minion.call("docker_apps.check") == []


@pytest.mark.parametrize(("example", "app"), APPS)
def test_a_compose_file(minion: Minion, render: Callable[..., str], example: str, app: str) -> None:
    given = pillar(example)
    entry = given["docker_apps"][app]
    states = show(minion, "docker_apps", given)
    state = states[f"docker-app-{app.replace('_', '-')}-compose-file"]
    found = yaml.safe_load(render(state, given))
    services = found["services"]
    assert set(services) == SERVICES[example][app]
    assert all(service["image"].startswith("ghcr.io/open-contracting/") for service in services.values())
    uid = given["docker"]["uid"]
    assert all(service["user"] == f"{uid}:{uid}" for name, service in services.items() if name == "web")
    assert {entry.get("service"), *(entry.get("workers") or [])} <= set(services)
    assert SECRET not in str(found)


def test_images_come_from_pillar(minion: Minion, render: Callable[..., str]) -> None:
    given = pillar("registry")
    given["docker_apps"]["registry"]["images"] = {"django": "mine.example/django:3", "static": "static:2"}
    state = show(minion, "docker_apps", given)["docker-app-registry-compose-file"]
    services = yaml.safe_load(render(state, given))["services"]
    assert {service["image"] for service in services.values()} == {"mine.example/django:3", "static:2"}


def test_no_secret_enters_a_state_and_all_enter_the_variables(minion: Minion, render: Callable[..., str]) -> None:
    given = pillar("registry")
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
    given = pillar("registry")
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
        "docker_apps-pillar",
        "docker-apps-pruned",
        "docker-apps-cron",
    }


def test_applications_without_a_user_are_refused(minion: Minion) -> None:
    states = show(minion, "docker_apps", {"docker_apps": {"registry": {}}})
    assert argument(states["docker_apps-pillar"], "problems") == [
        "docker:user and docker:uid are not set, and docker_apps needs them"
    ]
    assert not any(name.startswith("docker-app-") for name in states)


def test_packages_come_from_pillar(minion: Minion) -> None:
    given = {"docker": {"user": "deployer", "uid": 54321, "packages": ["docker-ce", "docker-compose-plugin"]}}
    assert argument(show(minion, "docker", given)["docker-packages"], "pkgs") == ["docker-ce", "docker-compose-plugin"]
