"""Applications under a real Docker, with a registry to pull from: from a host without Docker to one that prunes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fleet.docker_host import DATA, DIRECTORY, SECRET, UID, DockerHost, pillar
from tests.fleet.fleet import Fleet
from tests.fleet.hosts import Host
from tests.fleet.salt_master import Master

STATE = "/var/lib/kingfisher-docker-apps"
COMPOSE = f"{DIRECTORY}/docker-compose.yaml"
PIN = f"{DIRECTORY}/docker-compose.override.yaml"
APP = "docker-app-example"


@pytest.fixture(scope="module")
def host(fleet: Fleet, master: Master) -> Iterator[Host]:
    host = fleet.host("applications")
    host.with_docker()
    master.accept(host)
    master.call(host, "saltutil.sync_all")  # which an apply of one SLS does not
    yield host
    fleet.throw_away(host)


@pytest.fixture(scope="module")
def bare(host: Host, master: Master) -> DockerHost:
    """Return the host as it was before anything was applied, with a registry that has version 1."""
    return DockerHost(host, master)


@pytest.fixture(scope="module")
def first(bare: DockerHost) -> dict[str, Any]:
    """Return what was predicted, and what a host without Docker looked like after it; then apply."""
    other = pillar()
    other["docker"]["uid"] = UID + 1
    bare.host.run(f"useradd --uid {UID} deployer")
    bare.give(other)
    refused = bare.apply(check=False)
    after_refusal = bare.host.exists("/usr/bin/docker")
    bare.give(pillar())
    predicted = bare.apply(test=True)
    touched = [path for path in ("/usr/bin/docker", DIRECTORY, STATE) if bare.host.exists(path)]
    bare.master.salt(bare.host.name, "state.apply", "docker")
    bare.registry()
    bare.push("1")
    applied = bare.apply()
    return {
        "refused": refused,
        "after_refusal": after_refusal,
        "predicted": predicted,
        "touched": touched,
        "applied": applied,
    }


@pytest.fixture(scope="module")
def installed(bare: DockerHost, first: dict[str, Any]) -> DockerHost:
    assert first["applied"]
    return bare


@pytest.fixture
def app(installed: DockerHost) -> DockerHost:
    """Return the host with the application up, at whatever version."""
    installed.settle()
    return installed


def test_a_uid_that_differs_stops_everything(first: dict[str, Any]) -> None:
    comments = [comment for comment, _ in first["refused"].failed.values()]
    assert f"docker:uid in pillar is {UID + 1}, and deployer (docker:user) is {UID} in /etc/passwd" in str(comments)
    assert not first["refused"].changed and not first["after_refusal"]


def test_it_is_predicted_before(first: dict[str, Any]) -> None:
    assert first["touched"] == []
    predicted = {
        name.partition(":")[0] for name, state in first["predicted"].states.items() if state["result"] is None
    }
    assert first["applied"].ids <= predicted
    assert APP in first["applied"].ids


def test_it_is_up_with_its_variables_and_a_second_apply_changes_nothing(installed: DockerHost) -> None:
    assert installed.services() == ["web", "worker"]
    assert installed.version() == "1"
    assert installed.migrations() == ["1"]
    variables = installed.host.run("docker exec example-app-web-1 env").stdout
    assert f"SECRET={SECRET}\n" in variables
    assert installed.host.run(f"stat --format '%a %U' {DIRECTORY}/.env {DIRECTORY}").stdout.split() == [
        "400", "deployer", "755", "deployer",
    ]  # fmt: skip
    assert installed.host.run(f"stat --format %a {STATE}/example.json").stdout.strip() == "600"
    assert installed.apply().changed == {}
    assert installed.call("status", "example")["problems"] == []


def test_no_secret_leaves_the_containers(installed: DockerHost, first: dict[str, Any]) -> None:
    run = installed.call("run", "example", "migrate")
    assert run["stdout"].strip().endswith("**")
    shown = [
        first["applied"].states,
        first["predicted"].states,
        run,
        installed.call("status"),
        installed.call("logs", "example"),
        installed.host.run("ps -eo args").stdout,
        installed.host.run("journalctl --no-pager --unit salt-minion").stdout,
        installed.host.run("cat /var/log/salt/minion", check=False).stdout,
    ]
    assert "h1dden" not in str(shown)
    readable = installed.host.run(
        "grep --recursive --files-with-matches h1dden /etc /data /var/lib/kingfisher* || true"
    )
    assert readable.stdout.split() == [f"{DIRECTORY}/.env"]


def test_an_update_pulls_migrates_and_brings_up(app: DockerHost) -> None:
    assert app.call("update", "example")["changes"] == {}
    before, migrations = app.version(), len(app.migrations())
    app.push("new")
    planned = app.call("update", "example", "dry_run=True")
    assert "would be pulled" in planned["comment"]
    assert app.version() == before
    done = app.call("update", "example")
    assert set(done["changes"]) == {"web", "worker"}
    assert done["migrated"] is True
    assert all("@sha256:" in image for change in done["changes"].values() for image in change.values())
    assert app.version() == "new"
    assert app.migrations()[migrations:] == ["new"]
    assert app.apply().changed == {}


def test_a_failed_migration_leaves_what_ran(app: DockerHost) -> None:
    before, containers = app.version(), app.containers()
    app.push("broken", migrate="echo cannot, for $SECRET >&2; exit 3")
    said = app.call("update", "example", check=False)
    assert "the migration failed with exit code 3 (cannot, for **), so nothing was brought up" in said
    assert (app.version(), app.containers()) == (before, containers)
    assert APP in {name.partition(":")[0] for name in app.apply(check=False).failed}
    assert app.containers() == containers


def test_what_is_not_well_is_rolled_back_and_stays_so(app: DockerHost) -> None:
    before = app.version()
    app.push("unwell", web="exit 1")
    said = app.call("update", "example", check=False)
    assert "was not well with its new images" in said
    assert "Migrations are not undone" in said
    assert app.version() == before
    assert app.apply().changed == {}
    assert app.call("status", "example")["held_since"]
    assert app.host.run(f"cd {DIRECTORY} && docker compose run --rm -T cron cat /www/version").stdout.strip() == before
    app.push("well")
    app.call("update", "example")
    assert app.version() == "well"
    assert not app.host.exists(PIN)


def test_a_rollback_by_hand_ends_with_another_image_in_pillar(app: DockerHost) -> None:
    before = app.version()
    app.push("second-thoughts")
    app.call("update", "example")
    assert app.version() == "second-thoughts"
    assert set(app.call("rollback", "example", "dry_run=True")["changes"]) == {"web", "worker"}
    assert app.version() == "second-thoughts"
    app.call("rollback", "example")
    assert app.version() == before
    assert app.apply().changed == {}
    app.host.run("docker tag 127.0.0.1:5000/example:latest example:local")
    app.give(pillar(images={"example": "example:local"}, pull=False))
    app.apply()
    assert app.version() == "second-thoughts"
    assert not app.host.exists(PIN)


def test_an_update_that_was_killed_is_finished_by_another(app: DockerHost) -> None:
    before = app.version()
    app.push("slow", migrate="echo >/data/begun; sleep 5; cat /www/version >>/data/migrations; echo >/data/over")
    app.master.salt(app.host.name, "docker_apps.update", "example", "--async")
    app.host.run(f"until [ -e {DATA}/begun ]; do sleep 0.1; done", timeout=60)
    app.kill_minion()
    assert app.version() == before
    assert not app.host.exists(f"{DATA}/over")
    # The container of the migration goes on, and is waited for.
    app.call("update", "example")
    assert app.version() == "slow"
    assert app.migrations()[-2:] == ["slow", "slow"]
    app.call("rollback", "example")
    assert app.version() == before


def test_halted_workers_stay_stopped_and_come_back(app: DockerHost) -> None:
    files = [COMPOSE, f"{DIRECTORY}/.env", "/etc/cron.d/kingfisher-docker-apps"]
    before = [app.host.read(path) for path in files]
    app.give(pillar() | {"maintenance": {"halted": True}})
    app.apply()
    assert app.services() == ["web"]
    assert not app.host.exists(files[-1])
    assert app.apply().changed == {}
    app.host.reboot()
    app.host.with_docker()
    app.host.run("systemctl restart docker docker-registry")
    app.master.accept(app.host)
    assert app.version()
    assert app.services() == ["web"]
    app.give(pillar())
    app.apply()
    assert app.services() == ["web", "worker"]
    assert [app.host.read(path) for path in files] == before
    policies = "docker inspect --format '{{.HostConfig.RestartPolicy.Name}}' $(docker ps --quiet) | sort"
    assert app.host.run(policies).stdout.split() == ["always", "unless-stopped"]
    # The minion has learnt from the apply that it is not halted any more.
    app.call("update", "example")
    assert app.services() == ["web", "worker"]
    assert app.apply().changed == {}


def test_an_application_can_be_stopped(app: DockerHost) -> None:
    app.call("stop", "example", "services=[worker]")
    assert app.services() == ["web"]
    done = app.master.salt(app.host.name, "state.single", "docker_apps.stopped", "example")
    assert "web" in done.stdout and app.services() == []
    assert set(app.apply().changed[f"{APP}: example"]) == {"web", "worker"}
    assert app.services() == ["web", "worker"]


def test_the_old_docker_compose_alone_is_told_of(app: DockerHost) -> None:
    plugin = "/usr/libexec/docker/cli-plugins/docker-compose"
    app.host.run(f"cp --remove-destination $(readlink -f {plugin}) /usr/local/bin/docker-compose; mv {plugin} /root")
    try:
        said = app.call("status", "example", check=False)
    finally:
        app.host.run(f"mv /root/docker-compose {plugin}; rm /usr/local/bin/docker-compose")
    assert "only the old docker-compose is on this server" in said
    assert "docker:packages" in said


def test_what_leaves_pillar_is_taken_down_and_nothing_else(app: DockerHost) -> None:
    app.host.run("mkdir --parents /data/deploy/theirs; docker run --detach --name theirs example:local sleep 1000")
    app.host.write("/data/deploy/theirs/docker-compose.yaml", "services: {}\n")
    app.give({"docker": pillar()["docker"]})
    assert set(app.apply(test=True).changed) >= {"docker-apps-pruned: docker-apps-pruned"}
    assert app.services() == ["web", "worker"]
    applied = app.apply()
    (comment,) = [state["comment"] for name, state in applied.states.items() if name.startswith("docker-apps-pruned")]
    assert "The volumes of example are kept: example-app_kept" in comment
    assert app.services() == []
    assert app.host.run("docker ps --format '{{.Names}}'").stdout.split() == ["theirs"]
    assert app.host.run("ls /data/deploy").stdout.split() == ["theirs"]
    assert "example-app" not in app.host.run("docker network ls").stdout
    assert "example-app_kept" in app.host.run("docker volume ls").stdout
    assert not app.host.exists("/etc/cron.d/kingfisher-docker-apps")
    assert app.apply().changed == {}
    app.host.run("docker rm --force theirs")
