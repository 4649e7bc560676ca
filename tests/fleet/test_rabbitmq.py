"""RabbitMQ of pillar: a message goes through, and what leaves pillar leaves the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pika
import pytest

from tests.fleet.fleet import Fleet
from tests.fleet.hosts import Host
from tests.fleet.salt_master import Master
from tests.fleet.watching import seen, watch

SECRET = "h1dden-rabbit"
PILLAR: dict[str, Any] = {
    "rabbitmq": {
        # Else a machine with more memory than disk takes no message.
        "configuration": {"disk_free_limit.relative": "0.001"},
        "users": {
            "process": {"password": SECRET, "write": True},
            "monitor": {"password": f"{SECRET}-2", "tags": ["monitoring"], "permissions": {"other": {"read": ".*"}}},
        },
        "vhosts": ["other"],
        "policies": {"other": {"short": {"pattern": ".*", "definition": {"max-length": 5}}}},
    }
}


@pytest.fixture(scope="module")
def host(fleet: Fleet, master: Master) -> Iterator[Host]:
    host = fleet.host("broker")
    master.set_pillar(host, PILLAR)
    master.accept(host)
    master.call(host, "saltutil.sync_all")  # which an apply of one SLS does not
    watch(host, [SECRET])
    predicted = master.apply(host, "rabbitmq", test=True)
    assert not host.exists("/etc/rabbitmq")
    applied = master.apply(host, "rabbitmq")
    assert applied.ids <= {state["__id__"] for state in predicted.states.values() if state["result"] is None}
    assert SECRET not in json.dumps([applied.states, predicted.states])
    yield host
    fleet.throw_away(host)


def connect(host: Host, user: str = "process", password: str = SECRET, vhost: str = "/") -> Any:
    credentials = pika.PlainCredentials(user, password)
    parameters = pika.ConnectionParameters(host.address, 5672, vhost, credentials, connection_attempts=1)
    return pika.BlockingConnection(parameters)


def test_a_message_goes_through_and_outlives_a_reboot(host: Host) -> None:
    connection = connect(host)
    channel = connection.channel()
    channel.queue_declare("work", durable=True)
    durable = pika.BasicProperties(delivery_mode=2)
    channel.confirm_delivery()
    channel.basic_publish("", "work", b"hello", durable)
    connection.close()
    host.reboot()
    host.run("rabbitmqctl await_startup", timeout=120)
    connection = connect(host)
    _, _, body = connection.channel().basic_get("work", auto_ack=True)
    connection.close()
    assert body == b"hello"


def test_a_second_apply_changes_nothing(host: Host, master: Master) -> None:
    assert master.apply(host, "rabbitmq").changed == {}


def test_guest_is_refused(host: Host) -> None:
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        connect(host, "guest", "guest")


def test_no_secret_is_seen(host: Host) -> None:
    assert seen(host) == ""
    assert host.run(f"journalctl --no-pager | grep -F {SECRET}", check=False).stdout == ""
    assert host.run(f"grep -rlF {SECRET} /etc /var/lib/kingfisher-salt", check=False).stdout == ""


def test_what_leaves_pillar_leaves_the_server(host: Host, master: Master) -> None:
    users = {"process": {"password": "another", "write": True}}
    master.set_pillar(host, {"rabbitmq": {**PILLAR["rabbitmq"], "users": users, "vhosts": [], "policies": {}}})
    changed = master.apply(host, "rabbitmq").changed
    ((_, changes),) = changed.items()
    assert set(changes) == {"user process", "user monitor", "virtual host other", "policy short in other"}
    connect(host, password="another").close()
    for user, password in (("process", SECRET), ("monitor", f"{SECRET}-2")):
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            connect(host, user, password)


def test_without_pillar_nothing_is_changed(host: Host, master: Master) -> None:
    master.set_pillar(host, {"rabbitmq": {"users": {"process": {}}}})
    applied = master.apply(host, "rabbitmq", check=False)
    assert "rabbitmq:users:process:password is not set" in str(applied.failed)
    assert applied.changed == {}
