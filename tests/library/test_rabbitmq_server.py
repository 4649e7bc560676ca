"""Users, virtual hosts, permissions and policies from pillar, with a real server."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from kingfisher_salt.errors import SettingsError
from kingfisher_salt.rabbitmq_server import apply
from kingfisher_salt.rabbitmq_server.definitions import Control, ControlError

from tests.services.rabbitmq import RabbitMQ

Apply = Callable[..., dict[str, Any]]
PILLAR: dict[str, Any] = {
    "guest_enabled": True,
    "users": {
        "t_app": {"password": "it's % sécret", "write": True},
        "t_look": {"password": "look", "tags": ["monitoring"], "permissions": {"t_host": {"read": "^a"}}},
    },
    "vhosts": ["t_host"],
    "policies": {"t_host": {"t_short": {"pattern": "^t", "definition": {"max-length": 10}, "apply_to": "queues"}}},
}


@pytest.fixture
def control(rabbitmq: RabbitMQ) -> Control:
    # Not the one in /usr/sbin, which becomes another user.
    return Control(
        ("/usr/lib/rabbitmq/bin/rabbitmqctl", "--node", f"test{rabbitmq.port}@localhost"),
        {**os.environ, "HOME": str(rabbitmq.directory), "ERL_EPMD_PORT": str(rabbitmq._epmd_port)},
    )


@pytest.fixture
def pillar() -> dict[str, Any]:
    return copy.deepcopy(PILLAR)


@pytest.fixture
def run(control: Control, tmp_path: Path) -> Iterator[Apply]:
    path = tmp_path / "rabbitmq.json"
    yield lambda pillar, **options: apply.apply(pillar, control, path=path, **options)
    apply.apply({"guest_enabled": True}, control, path=path)


def opens(rabbitmq: RabbitMQ, user: str, password: str) -> bool:
    answer = requests.get(f"{rabbitmq.url}/api/whoami", auth=(user, password.encode()), timeout=30)
    return answer.status_code == requests.codes.ok


def test_the_second_run_changes_nothing(run: Apply, pillar: dict[str, Any], rabbitmq: RabbitMQ) -> None:
    predicted = run(pillar, dry_run=True)["changes"]
    changed = run(pillar)["changes"]
    assert set(changed) == {"virtual host t_host", "user t_app", "user t_look", "policy t_short in t_host"}
    assert predicted == changed
    assert run(pillar)["changes"] == {}
    assert opens(rabbitmq, "t_look", "look")
    rights = {(each["user"], each["vhost"]): each for each in rabbitmq.ask("GET", "permissions")}
    assert rights["t_look", "t_host"]["read"] == "^a"
    assert rights["t_look", "t_host"]["write"] == "^$"
    assert rights["t_app", "/"]["write"] == ".*"
    assert rabbitmq.ask("GET", "policies/t_host/t_short")["definition"] == {"max-length": 10}


def test_a_dry_run_changes_nothing(run: Apply, pillar: dict[str, Any], rabbitmq: RabbitMQ, tmp_path: Path) -> None:
    run(pillar, dry_run=True)
    assert not any(each["name"].startswith("t_") for each in rabbitmq.ask("GET", "users"))
    assert not (tmp_path / "rabbitmq.json").exists()


def test_what_changes_in_pillar_is_changed(run: Apply, pillar: dict[str, Any], rabbitmq: RabbitMQ) -> None:
    run(pillar)
    pillar["users"]["t_look"] |= {"password": "another", "permissions": {"/": {"read": ".*"}}}
    changed = run(pillar)["changes"]
    assert list(changed) == ["user t_look"]
    assert changed["user t_look"]["new"]["password"] == "**"
    assert changed["user t_look"]["new"]["in t_host"] is None
    assert opens(rabbitmq, "t_look", "another")
    assert not opens(rabbitmq, "t_look", "look")
    assert run(pillar)["changes"] == {}


def test_what_leaves_pillar_is_removed_and_what_others_made_stays(
    run: Apply, pillar: dict[str, Any], rabbitmq: RabbitMQ
) -> None:
    rabbitmq.add_user("theirs", "x")
    run(pillar)
    changed = run({"guest_enabled": True})["changes"]
    assert all(change["new"] is None for change in changed.values())
    assert {each["name"] for each in rabbitmq.ask("GET", "users")} >= {"theirs", rabbitmq.username}
    assert not any(each["name"].startswith("t_") for kind in ("users", "vhosts") for each in rabbitmq.ask("GET", kind))
    rabbitmq.ask("DELETE", "users/theirs")


def test_a_virtual_host_with_messages_is_kept_until_it_is_empty(
    run: Apply, pillar: dict[str, Any], rabbitmq: RabbitMQ
) -> None:
    run(pillar)
    rabbitmq.allow(rabbitmq.username, "t_host")
    rabbitmq.ask("PUT", "queues/t_host/full", json={"durable": True})
    message = {"properties": {}, "routing_key": "full", "payload": "x", "payload_encoding": "string"}
    rabbitmq.ask("POST", "exchanges/t_host/amq.default/publish", json=message)
    done = run({"guest_enabled": True})
    assert "virtual host t_host" not in done["changes"]
    assert done["notes"][0].startswith("Virtual host t_host left pillar, and is kept, since there are messages in it")
    rabbitmq.ask("DELETE", "queues/t_host/full/contents")
    assert "virtual host t_host" in run({"guest_enabled": True})["changes"]


def test_guest_is_removed(run: Apply, rabbitmq: RabbitMQ) -> None:
    rabbitmq.add_user("guest", "guest")
    assert run({})["changes"] == {"user guest": {"old": "guest", "new": None}}
    assert run({})["changes"] == {}


def test_every_mistake_is_in_one_message(run: Apply, pillar: dict[str, Any]) -> None:
    pillar["users"]["t_look"]["permissions"] = {"t_hots": {}}
    pillar["users"]["$(id)"] = {"password": "x"}
    pillar["policies"]["other"] = {}
    with pytest.raises(SettingsError) as caught:
        run(pillar)
    for part in (
        "rabbitmq:users:t_look:permissions: t_hots is not in rabbitmq:vhosts: did you mean t_host?",
        "rabbitmq:policies: other is not in rabbitmq:vhosts",
        "rabbitmq:users: '$(id)' must be of letters",
    ):
        assert part in str(caught.value)


def test_no_password_is_said_or_kept(run: Apply, pillar: dict[str, Any], tmp_path: Path) -> None:
    pillar["users"]["t_app"]["password"] = "h1dden"
    said = json.dumps(run(pillar))
    assert "h1dden" not in said + (tmp_path / "rabbitmq.json").read_text()


def test_a_server_that_is_not_there_is_a_new_one_for_a_dry_run_alone(pillar: dict[str, Any], tmp_path: Path) -> None:
    control = Control(("/nonexistent/rabbitmqctl",))
    done = apply.apply({**pillar, "guest_enabled": False}, control, path=tmp_path / "x.json", dry_run=True)
    assert {"user guest", "user t_app", "virtual host t_host"} <= set(done["changes"])
    with pytest.raises(ControlError, match="is RabbitMQ installed here"):
        apply.apply(pillar, control, path=tmp_path / "x.json")
