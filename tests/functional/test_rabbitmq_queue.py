"""The functions and the state of RabbitMQ's queues, against a real server."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.functional.conftest import Minion
from tests.functional.scrapyd_server import wait_for
from tests.services.rabbitmq import RabbitMQ


class Host:
    """A minion whose pillar names a virtual host of a test's own, with one queue."""

    queue = "registry_exporter_init"

    def __init__(self, server: RabbitMQ, vhost: str, minion: Minion, directory: Path):
        self.minion = minion
        self.pillar = {
            "management_url": server.url,
            "amqp_url": f"amqp://{server.host}:{server.port}",
            "vhost": vhost,
            "username": server.username,
            "password": server.password,
            "directory": str(directory / "purged"),
        }
        minion.set_pillar({"rabbitmq_queue": self.pillar})
        self.channel = pika.BlockingConnection(pika.URLParameters(server.amqp_url(vhost))).channel()
        self.channel.exchange_declare("registry", "direct", durable=True)
        self.channel.queue_declare(self.queue, durable=True)
        self.channel.queue_bind(self.queue, "registry", self.queue)

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        return self.minion.call(f"rabbitmq_queue.{function}", *args, **kwargs)

    def ready(self) -> int:
        count: int = self.channel.queue_declare(self.queue, passive=True).method.message_count
        return count


@pytest.fixture
def host(rabbitmq: RabbitMQ, minion: Minion, tmp_path: Path) -> Iterator[Host]:
    vhost = uuid.uuid4().hex
    rabbitmq.add_vhost(vhost)
    yield Host(rabbitmq, vhost, minion, tmp_path)
    rabbitmq.delete_vhost(vhost)


def test_a_message_is_published_seen_purged_and_restored(host: Host) -> None:
    arguments = ("exporter_init", {"job_id": 1, "collection_id": 2})
    assert host.call("publish", *arguments, exchange="registry", dry_run=True)["published"] is False
    assert host.call("publish", *arguments, exchange="registry")["routing_key"] == host.queue
    assert host.call("peek", host.queue)["messages"][0]["message"] == {"job_id": 1, "collection_id": 2}
    wait_for(lambda: host.call("list", "registry_*")[host.queue]["ready"] == 1)
    assert host.call("purge", host.queue, dry_run=True)["removed"] == 0
    with pytest.raises(CommandExecutionError, match=f"if that is meant, confirm={host.queue}"):
        host.call("purge", host.queue)
    assert host.ready() == 1
    file = host.call("purge", host.queue, confirm=host.queue)["file"]
    assert host.ready() == 0
    assert host.call("restore", file, dry_run=True)["published"] == 0
    assert host.call("restore", file)["published"] == 1
    assert host.ready() == 1


def test_idle_is_told_by_the_return_code(host: Host) -> None:
    assert host.call("idle", settle=2) is True
    assert host.minion.retcode == 0
    host.call("publish", host.queue, {})
    assert host.call("idle", host.queue, settle=0) is False
    assert host.minion.retcode == 1


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("peek", {"queue": "q", "count": 0}, "argument count must be a number from 1 to"),
        ("restore", {"file": "x"}, "argument file must be an absolute path"),
        ("restore", {"file": "/x", "doubtful": "yes"}, "argument doubtful must be publish or skip"),
        ("idle", {"settle": -1}, "argument settle must be a number of seconds"),
        ("wait", {"timeout": "x"}, "argument timeout must be a number of seconds"),
        ("list", {"pattern": 1}, "argument pattern must be text"),
    ],
)
def test_arguments_are_refused_in_one_sentence(host: Host, function: str, arguments: dict, message: str) -> None:
    with pytest.raises(SaltInvocationError, match=message):
        host.call(function, **arguments)


def test_a_password_is_no_argument(host: Host) -> None:
    with pytest.raises(CommandExecutionError, match="argument password is a secret"):
        host.call("list", password="secret")


def test_empty_waits_until_messages_are_consumed(host: Host) -> None:
    arguments = {"name": "registry_*", "settle": 2}
    host.call("publish", host.queue, {})
    planned = host.minion.state("rabbitmq_queue.empty", test=True, timeout=30, **arguments)
    assert planned.result is None
    assert planned.changes[host.queue]["old"]["ready"] == 1
    failed = host.minion.state("rabbitmq_queue.empty", timeout=0, **arguments)
    assert (failed.result, failed.changes) == (False, {})
    assert f"{host.queue} has 1 ready and" in failed.comment
    consumer = threading.Timer(3, host.channel.basic_get, (host.queue,), {"auto_ack": True})
    consumer.start()
    done = host.minion.state("rabbitmq_queue.empty", timeout=60, **arguments)
    consumer.join()
    assert done.result is True, done.comment
    assert done.changes[host.queue]["new"] == "empty"
    for test in (True, False):
        again = host.minion.state("rabbitmq_queue.empty", test=test, **arguments | {"settle": 0})
        assert (again.result, again.changes) == (True, {}), again.comment
    unknown = host.minion.state("rabbitmq_queue.empty", name="registri_*", timeout=0)
    assert (unknown.result, unknown.changes) == (False, {})
