"""RabbitMQ's queues: exact counts, and purges that lose nothing, against a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pika
import pytest
from kingfisher_salt.errors import KingfisherError, LockedError, SettingsError
from kingfisher_salt.rabbitmq import amqp, config, counts, peek, publish, purge, purgefile, restore

from tests.services.ports import free_port
from tests.services.rabbitmq import RabbitMQ

ROOT = Path(__file__).parents[2]
KINDS = ("classic", "quorum")
PERSISTENT = pika.BasicProperties(delivery_mode=2)


class Broker:
    """A virtual host of a test's own, and a connection to it as applications have one."""

    def __init__(self, server: RabbitMQ, vhost: str, directory: Path):
        self.server, self.vhost, self.directory = server, vhost, directory
        self.connection = pika.BlockingConnection(pika.URLParameters(server.amqp_url(vhost)))
        self.channel = self.connection.channel()

    def settings(self, **changed: Any) -> dict[str, Any]:
        given = {
            "management_url": self.server.url,
            "amqp_url": f"amqp://{self.server.host}:{self.server.port}",
            "vhost": self.vhost,
            "username": self.server.username,
            "password": self.server.password,
            "directory": str(self.directory / "purged"),
            "timeout": 10,
            **changed,
        }
        return {key: value for key, value in given.items() if value is not None}

    def config(self, **changed: Any) -> config.Config:
        return config.load(self.settings(**changed), {})

    def declare(self, name: str, kind: str = "classic", **arguments: Any) -> str:
        self.channel.queue_declare(name, durable=True, arguments={"x-queue-type": kind, **arguments})
        return name

    def fill(self, name: str, bodies: list[bytes], properties: Any = PERSISTENT) -> None:
        channel = self.connection.channel()
        for body in bodies:
            channel.basic_publish("", name, body, properties)
        channel.queue_declare(name, passive=True)  # after which all of them have arrived
        channel.close()

    def ready(self, name: str) -> int:
        channel = self.connection.channel()
        count: int = channel.queue_declare(name, passive=True).method.message_count
        channel.close()
        return count

    def messages(self, name: str) -> list[tuple[Any, Any, bytes]]:
        """Take all messages out of a queue."""
        channel = self.connection.channel()
        channel.basic_qos(prefetch_count=1000)
        found = []
        for method, properties, body in channel.consume(name, auto_ack=True, inactivity_timeout=0.5):
            if method is None:
                break
            found.append((method, properties, body))
        channel.close()
        return found

    def bodies(self, name: str) -> list[bytes]:
        return [body for _, _, body in self.messages(name)]

    def purge(self, name: str, **changed: Any) -> dict[str, Any]:
        return purge.purge(self.config(**changed), name, confirm=name)

    def restore(self, file: str | Path, **options: Any) -> dict[str, Any]:
        return restore.restore(self.config(), Path(file), **options)

    def files(self) -> list[Path]:
        return sorted((self.directory / "purged").glob("*.jsonl"))


@pytest.fixture
def broker(rabbitmq: RabbitMQ, tmp_path: Path) -> Iterator[Broker]:
    vhost = f"a/b %{uuid.uuid4().hex}"
    rabbitmq.add_vhost(vhost)
    found = Broker(rabbitmq, vhost, tmp_path)
    yield found
    rabbitmq.delete_vhost(vhost)


def numbered(count: int, start: int = 1) -> list[bytes]:
    return [json.dumps({"number": number}).encode() for number in range(start, start + count)]


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not become true")
        time.sleep(0.02)


# purge and restore


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_purged_can_be_restored_in_its_order(broker: Broker, kind: str) -> None:
    broker.declare("q", kind)
    broker.fill("q", numbered(1234))
    result = broker.purge("q")
    assert (result["ready"], result["removed"], broker.ready("q")) == (1234, 1234, 0)
    file = Path(result["file"])
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    done = broker.restore(file)
    assert (done["published"], done["doubtful"]) == (1234, [])
    assert broker.bodies("q") == numbered(1234)
    assert broker.restore(file)["published"] == 0
    assert broker.ready("q") == 0


def test_bodies_and_properties_come_back_to_the_byte(broker: Broker) -> None:
    broker.declare("q")
    headers = {
        "text": "é",
        "bytes": b"\xff\x00",
        "time": datetime(2026, 1, 31, 4, 5, 6, tzinfo=timezone.utc),
        "decimal": Decimal("1.5"),
        "list": [1, None, True, {"deep": 2**40}],
        "$bytes": "not ours",
    }
    properties = pika.BasicProperties(
        content_type="application/json",
        headers=headers,
        delivery_mode=2,
        priority=3,
        correlation_id="c",
        message_id="m",
        timestamp=1_700_000_000,
        type="t",
        app_id="a",
    )
    given = [b"", b"\xff\xfe\x00", b"not json\n", "é\U0001f600".encode(), bytes(range(256)) * 100]
    broker.fill("q", given, properties)
    file = broker.purge("q")["file"]
    broker.restore(file)
    found = broker.messages("q")
    assert [body for _, _, body in found] == given
    for _, got, _ in found:
        assert got.headers == headers
        assert got == properties


def test_a_copy_to_another_queue_is_not_made_again(broker: Broker) -> None:
    broker.declare("q")
    broker.declare("copy")
    broker.fill("q", [b"{}"], pika.BasicProperties(headers={"CC": ["copy"], "kept": 1}))
    assert len(broker.bodies("copy")) == 1
    broker.restore(broker.purge("q")["file"])
    [(_, properties, _)] = broker.messages("q")
    assert properties.headers == {"kept": 1}
    assert broker.ready("copy") == 0


@pytest.mark.parametrize("name", ["a/b", "50%", "é 1", "x" * 255, "../../etc"])
def test_names_of_any_characters(broker: Broker, name: str) -> None:
    broker.declare(name)
    publish.publish(broker.config(), name, {"job_id": 1})
    wait_for(lambda: name in counts.listing(broker.config()))
    assert (counts.queue_counts(broker.config(), [name])[name] or {})["ready"] == 1
    assert peek.peek(broker.config(), name, 1)["messages"][0]["message"] == {"job_id": 1}
    result = broker.purge(name)
    assert [str(path) for path in broker.files()] == [result["file"]]
    broker.restore(result["file"])
    assert broker.bodies(name) == [b'{"job_id":1}']


def test_the_virtual_host_that_is_called_slash(broker: Broker) -> None:
    name = f"q-{uuid.uuid4().hex}"
    mine = Broker(broker.server, "/", broker.directory)
    mine.declare(name)
    try:
        publish.publish(mine.config(vhost=None), name, {"a": 1})
        file = mine.purge(name, vhost=None)["file"]
        with pytest.raises(KingfisherError, match="is of virtual host /: restore it with vhost=/"):
            broker.restore(file)
        assert mine.restore(file)["published"] == 1
    finally:
        mine.channel.queue_delete(name)


def test_purge_tries_first_and_wants_the_name_again(broker: Broker) -> None:
    broker.declare("q")
    broker.fill("q", numbered(2))
    result = purge.purge(broker.config(), "q", dry_run=True)
    assert (result["ready"], result["removed"], result["notes"][0]) == (2, 0, purge.WARNING)
    for confirm in (None, "Q", ""):
        with pytest.raises(KingfisherError, match=r"queue q holds 2 messages, and this affects all .* confirm=q"):
            purge.purge(broker.config(), "q", confirm=confirm)
    assert broker.ready("q") == 2
    assert not list(broker.directory.iterdir())


def test_an_empty_queue_leaves_no_file(broker: Broker) -> None:
    broker.declare("q")
    assert broker.purge("q")["file"] is None
    assert broker.files() == []


def test_messages_that_come_meanwhile_stay(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    broker.declare("q")
    broker.fill("q", numbered(1200))
    remove = purge._remove

    def slowly(*arguments: Any) -> None:
        broker.fill("q", numbered(300, 5000))
        remove(*arguments)

    monkeypatch.setattr(purge, "_remove", slowly)
    assert broker.purge("q")["removed"] == 1200
    assert broker.bodies("q") == numbered(300, 5000) * 3


def test_messages_at_a_consumer_are_told_of_and_stay(broker: Broker) -> None:
    broker.declare("q")
    broker.fill("q", numbered(10))
    channel = broker.connection.channel()
    channel.basic_qos(prefetch_count=3)
    held = []
    channel.basic_consume("q", lambda *found: held.append(found))
    broker.connection.process_data_events(1)
    assert len(held) == 3
    wait_for(lambda: (counts.queue_counts(broker.config(), ["q"])["q"] or {})["unacknowledged"] == 3)
    result = broker.purge("q")
    assert (result["ready"], result["removed"], result["unacknowledged"], result["consumers"]) == (7, 7, 3, 1)
    assert any("1 consumers are attached" in note for note in result["notes"])
    channel.close()
    assert broker.bodies("q") == numbered(3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_thousand_messages(broker: Broker, kind: str) -> None:
    count = 5_000 if kind == "quorum" else 100_000
    broker.declare("q", kind)
    broker.fill("q", numbered(count))
    program = """
import json, resource, sys
from pathlib import Path
from kingfisher_salt.rabbitmq import config, purge, purgefile
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = purge.purge(config.load(json.load(sys.stdin), {}), "q", confirm="q")
with purgefile.opened(Path(result["file"])) as content:
    read = content.total
print(json.dumps([result["removed"], read, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]))
"""
    done = subprocess.run([sys.executable, "-c", program], **options(broker), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    removed, read, kibibytes = json.loads(done.stdout)
    assert (removed, read, broker.ready("q")) == (count, count, 0)
    assert kibibytes < 20_000


# killed


def options(broker: Broker) -> dict[str, Any]:
    return {
        "input": json.dumps(broker.settings()),
        "text": True,
        "env": {**os.environ, "PYTHONPATH": str(ROOT / "_utils")},
    }


def killed(broker: Broker, program: str) -> None:
    """Run a program, which kills itself."""
    done = subprocess.run([sys.executable, "-c", program], **options(broker), capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


PURGE = """
import json, os, signal, sys
from pathlib import Path
from kingfisher_salt.rabbitmq import config, purge, purgefile
calls = 0
{step} = {place}
def wrapper(*arguments):
    global calls
    calls += 1
    if {before} and calls == {call}:
        {half}
        os.kill(os.getpid(), signal.SIGKILL)
    result = {step}(*arguments)
    if calls == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
{place} = wrapper
purge.purge(config.load(json.load(sys.stdin), {{}}), "q", confirm="q")
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("place", "before", "call", "half"),
    [
        ("purgefile.Writer.add", True, 700, ""),
        ("purgefile.Writer.keep", True, 2, ""),
        ("purgefile.Writer.keep", True, 2, "os.write(arguments[0]._descriptor, arguments[0]._buffer[:777])"),
        ("purgefile.Writer.keep", False, 2, ""),
        ("purgefile.Writer.removed", True, 2, ""),
        ("purgefile.Writer.removed", False, 2, ""),
        ("purgefile.Writer.keep", False, 1, ""),
    ],
)
def test_a_killed_purge_loses_nothing_and_doubles_nothing_silently(
    broker: Broker, kind: str, place: str, before: bool, call: int, half: str
) -> None:
    broker.declare("q", kind)
    broker.fill("q", numbered(1100))
    killed(broker, PURGE.format(step="original", place=place, before=before, call=call, half=half or "pass"))
    time.sleep(0.1)
    [file] = broker.files()
    with purgefile.opened(file) as content:
        inside = {json.loads(message["text"])["number"] for message in content.messages(1)}
        doubtful = list(range(content.acknowledged + 1, content.total + 1))
    wait_for(lambda: broker.ready("q") + len(inside) >= 1100)
    left = {json.loads(body)["number"] for body in broker.bodies("q")}
    assert left | inside == set(range(1, 1101))
    assert left & inside <= set(doubtful)
    assert restore.restore(broker.config(), file, dry_run=True)["doubtful"] == doubtful
    if doubtful:
        with pytest.raises(
            KingfisherError, match=f"messages from {doubtful[0]} to {doubtful[-1]} in .* doubtful=skip"
        ):
            broker.restore(file)
        assert broker.ready("q") == 0
    skip = bool(left & inside) or not doubtful
    broker.restore(file, doubtful="skip" if skip else "publish")
    restored = [json.loads(body)["number"] for body in broker.bodies("q")]
    assert restored == sorted(set(range(1, 1101)) - left)


RESTORE = """
import json, os, signal, sys
from pathlib import Path
from kingfisher_salt.rabbitmq import config, restore
original = restore.Progress.{step}
def wrapper(self, number):
    if {before} and number == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    original(self, number)
    if number == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
restore.Progress.{step} = wrapper
restore.restore(config.load(json.load(sys.stdin), {{}}), Path({file!r}))
"""


@pytest.mark.parametrize(
    ("step", "before", "arrived", "doubtful"),
    [("begin", True, 149, []), ("begin", False, 149, [150]), ("end", True, 150, [150]), ("end", False, 150, [])],
)
def test_a_killed_restore_goes_on_and_says_what_may_be_doubled(
    broker: Broker, step: str, before: bool, arrived: int, doubtful: list[int]
) -> None:
    broker.declare("q")
    broker.fill("q", numbered(300))
    file = broker.purge("q")["file"]
    killed(broker, RESTORE.format(step=step, before=before, at=150, file=file))
    assert broker.ready("q") == arrived
    assert broker.restore(file, dry_run=True)["doubtful"] == doubtful
    if doubtful:
        with pytest.raises(KingfisherError, match=r"message 150 in .* may be in queue q already"):
            broker.restore(file)
    choice = {149: "publish", 150: "skip"}[arrived] if doubtful else None
    broker.restore(file, doubtful=choice)
    assert broker.bodies("q") == numbered(300)


# files that cannot be written


def test_a_full_disk_removes_nothing_that_is_not_written(broker: Broker) -> None:
    broker.declare("q")
    broker.fill("q", numbered(1100))
    # A file that may not grow: the kernel's answer is another, and so is nothing else.
    program = f"""
import json, resource, signal, sys
from kingfisher_salt.errors import KingfisherError
from kingfisher_salt.rabbitmq import config, purge
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({100_000}, {100_000}))
try:
    purge.purge(config.load(json.load(sys.stdin), {{}}), "q", confirm="q")
except KingfisherError as e:
    print(e)
"""
    done = subprocess.run([sys.executable, "-c", program], **options(broker), capture_output=True, check=False)
    [file] = broker.files()
    assert f"{file} cannot be written: File too large: 500 messages are in it and removed" in done.stdout, done
    with purgefile.opened(file) as content:
        assert (content.total, content.acknowledged) == (500, 500)
    wait_for(lambda: broker.ready("q") == 600)
    assert broker.bodies("q") == numbered(600, 501)


def test_a_directory_that_cannot_be_written_removes_nothing(broker: Broker, tmp_path: Path) -> None:
    broker.declare("q")
    broker.fill("q", numbered(3))
    (tmp_path / "file").touch()
    with pytest.raises(KingfisherError, match=r"cannot be written: Not a directory: nothing was removed: correct"):
        broker.purge("q", directory=str(tmp_path / "file" / "below"))
    assert broker.bodies("q") == numbered(3)


def test_a_file_that_is_in_use_or_none_of_ours(broker: Broker, tmp_path: Path) -> None:
    broker.declare("q")
    broker.fill("q", numbered(3))
    file = Path(broker.purge("q")["file"])
    with purgefile.opened(file), pytest.raises(LockedError, match="in use by a purge or another restore"):
        broker.restore(file)
    for text in ("", "{}\n", "x\n", '{"format": 2}\n'):
        (tmp_path / "other").write_text(text)
        with pytest.raises(KingfisherError, match=r"take the file as purge wrote it|by another version"):
            broker.restore(tmp_path / "other")
    with pytest.raises(KingfisherError, match="cannot be read: No such file"):
        broker.restore(tmp_path / "none")
    assert broker.ready("q") == 0


def test_restore_stops_at_a_queue_that_is_full_and_goes_on(broker: Broker) -> None:
    broker.declare("q")
    broker.fill("q", numbered(20))
    file = broker.purge("q")["file"]
    broker.channel.queue_delete("q")
    with pytest.raises(KingfisherError, match="queue q is unknown"):
        broker.restore(file)
    broker.declare("q", **{"x-max-length": 5, "x-overflow": "reject-publish"})
    with pytest.raises(KingfisherError, match="queue q did not take message 6"):
        broker.restore(file)
    assert broker.bodies("q") == numbered(5)
    broker.channel.queue_delete("q")
    broker.declare("q")
    assert broker.restore(file)["published"] == 15
    assert broker.bodies("q") == numbered(15, 6)


# publish


def test_publish_does_as_yapw(broker: Broker) -> None:
    exchange, queue = "registry_production", "registry_production_exporter_init"
    broker.channel.exchange_declare(exchange, "direct", durable=True)
    broker.declare(queue)
    broker.channel.queue_bind(queue, exchange, queue)
    for key in ("exporter_init", queue):
        plan = publish.publish(broker.config(), key, {"job_id": 1}, exchange=exchange, dry_run=True)
        assert (plan["routing_key"], plan["published"], broker.ready(queue)) == (queue, False, 0)
        done = publish.publish(broker.config(), key, '{"job_id": 1}', exchange=exchange)
        assert (done["routing_key"], done["published"]) == (queue, True)
        [(method, properties, body)] = broker.messages(queue)
        assert (method.exchange, method.routing_key, body) == (exchange, queue, b'{"job_id":1}')
        assert (properties.delivery_mode, properties.content_type) == (2, "application/json")


@pytest.mark.parametrize("dry_run", [True, False])
def test_publish_fails_if_nothing_would_receive_it(broker: Broker, dry_run: bool) -> None:
    broker.channel.exchange_declare("registry", "direct", durable=True)
    broker.declare("registry_flattener_init")
    wait_for(lambda: counts.listing(broker.config()))
    expected = {
        ("flattener_init", None): "queue flattener_init is unknown .* did you mean registry_flattener_init?",
        (
            "flattener_init",
            "registry",
        ): "no queue is bound to exchange registry with routing key flattener_init or reg",
        ("flattener_init", "registri"): "argument exchange: registri is unknown .* did you mean registry?",
        ("", None): "argument queue must be text of 1 to 255 bytes",
        ("x" * 256, None): "argument queue must be text of 1 to 255 bytes",
    }
    for (key, exchange), message in expected.items():
        with pytest.raises(KingfisherError, match=message):
            publish.publish(broker.config(), key, {}, exchange=exchange, dry_run=dry_run)
    broker.channel.queue_bind("registry_flattener_init", "registry", "registry_flattener_init")
    with pytest.raises(KingfisherError, match=r"nothing was published: did you mean registry_flattener_init?"):
        publish.publish(broker.config(), "flattener_ini", {}, exchange="registry", dry_run=dry_run)
    for message in ("{", float("nan"), {"day": datetime(2026, 1, 1)}):  # noqa: DTZ001
        with pytest.raises(KingfisherError, match="argument message"):
            publish.publish(broker.config(), "registry_flattener_init", message, dry_run=dry_run)
    assert broker.ready("registry_flattener_init") == 0


# peek and counts


@pytest.mark.parametrize("kind", KINDS)
def test_peek_leaves_messages_and_their_order(broker: Broker, kind: str) -> None:
    broker.declare("q", kind)
    broker.fill("q", [*numbered(3), b"\xff", b"x" * 5000, *numbered(95, 6)])
    for count in (1, 5):
        found = peek.peek(broker.config(), "q", count)
        assert (found["ready"], len(found["messages"])) == (100, count)
        assert found["messages"][0]["message"] == {"number": 1}
    assert found["messages"][3]["base64"] == "/w=="
    assert (len(found["messages"][4]["text"]), found["messages"][4]["bytes"]) == (peek.BODY_LIMIT, 5000)
    assert found["messages"][0]["redelivered"] is True
    wait_for(lambda: broker.ready("q") == 100)
    assert broker.bodies("q") == [*numbered(3), b"\xff", b"x" * 5000, *numbered(95, 6)]


def test_peek_refuses_a_queue_that_counts_deliveries(broker: Broker) -> None:
    broker.declare("q", "quorum", **{"x-delivery-limit": 2})
    broker.fill("q", numbered(1))
    for _ in range(4):
        with pytest.raises(KingfisherError, match="queue q drops messages that were delivered too often"):
            peek.peek(broker.config(), "q", 1)
    assert broker.bodies("q") == numbered(1)


def test_counts_are_those_of_this_moment(broker: Broker) -> None:
    broker.declare("q")
    broker.fill("q", numbered(7))
    found = counts.queue_counts(broker.config(), ["q", "none"])
    assert found["none"] is None
    assert ((found["q"] or {})["ready"], (found["q"] or {})["consumers"]) == (7, 0)
    wait_for(lambda: (counts.listing(broker.config(), "q*")["q"]["ready"]) == 7)


def test_idle_sees_what_a_consumer_has_just_got(broker: Broker) -> None:
    broker.declare("q")
    broker.declare("other")
    broker.fill("q", numbered(1))
    assert counts.busy(broker.config(), "q", 2)["q"]["ready"] == 1
    wait_for(lambda: counts.listing(broker.config())["q"]["ready"] == 1)
    channel = broker.connection.channel()
    method, _, _ = channel.basic_get("q")
    assert counts.busy(broker.config(), "q") != {}
    assert counts.busy(broker.config(), "other", 2) == {}
    channel.basic_ack(method.delivery_tag)
    assert counts.wait(broker.config(), None, 20, 2) == {}
    with pytest.raises(KingfisherError, match=r"argument pattern: no queue in virtual host .* is like qq"):
        counts.busy(broker.config(), "qq", 0)


# what goes wrong


def test_an_exclusive_queue_is_told_as_such(broker: Broker) -> None:
    broker.channel.queue_declare("mine", exclusive=True)
    for function in (
        lambda: broker.purge("mine"),
        lambda: peek.peek(broker.config(), "mine", 1),
        lambda: publish.publish(broker.config(), "mine", {}),
    ):
        with pytest.raises(KingfisherError, match="queue mine is exclusive: only the connection"):
            function()
    assert counts.busy(broker.config(), None, 0) == {}


def test_a_consumer_that_excludes_others_keeps_the_queue(broker: Broker) -> None:
    broker.declare("q")
    broker.fill("q", numbered(3))
    channel = broker.connection.channel()
    channel.basic_qos(prefetch_count=1)
    channel.basic_consume("q", lambda *_: None, exclusive=True)
    with pytest.raises(KingfisherError, match="queue q has a consumer that excludes others"):
        broker.purge("q")
    assert broker.files() == []


def test_a_single_active_consumer_keeps_the_queue(broker: Broker) -> None:
    broker.declare("q", **{"x-single-active-consumer": True})
    broker.fill("q", numbered(3))
    channel = broker.connection.channel()
    channel.basic_qos(prefetch_count=1)
    channel.basic_consume("q", lambda *_: None)
    with pytest.raises(KingfisherError, match="queue q gives its messages to another consumer alone"):
        broker.purge("q", timeout=1)
    assert broker.files() == []


def test_an_unknown_queue_is_told_with_the_nearest_name(broker: Broker) -> None:
    broker.declare("exporter_init")
    wait_for(lambda: counts.listing(broker.config()))
    for function in (broker.purge, lambda name: peek.peek(broker.config(), name, 1)):
        with pytest.raises(KingfisherError, match=r"^queue exporter_int is unknown .*: did you mean exporter_init\?$"):
            function("exporter_int")
    with pytest.raises(KingfisherError, match="did you mean exporter_init"):
        counts.listing(broker.config(), "exporter_int")


def test_rabbitmq_is_down(broker: Broker) -> None:
    port = free_port()
    down = broker.config(amqp_url=f"amqp://127.0.0.1:{port}", management_url=f"http://127.0.0.1:{port}")
    with pytest.raises(KingfisherError, match=f"^RabbitMQ at 127.0.0.1:{port} does not answer .Connection refused.: "):
        counts.queue_counts(down, ["q"])
    with pytest.raises(
        KingfisherError, match=r"^RabbitMQ's management interface at .* .Connection refused.: rabbitmq-"
    ):
        counts.listing(down)


def test_the_management_interface_is_down(broker: Broker) -> None:
    broker.declare("q")
    broker.fill("q", numbered(2))
    url = f"http://127.0.0.1:{free_port()}"
    down = broker.config(management_url=url)
    assert counts.queue_counts(down, ["q"]) == {"q": {"ready": 2, "unacknowledged": None, "consumers": 0}}
    assert publish.publish(down, "q", {"number": 3})["published"]
    with pytest.raises(KingfisherError, match=r"queue r is unknown in virtual host .*: correct its name"):
        publish.publish(down, "r", {})
    with pytest.raises(KingfisherError, match="rabbitmq-plugins enable rabbitmq_management"):
        counts.busy(down, "q", 0)
    result = broker.purge("q", management_url=url)
    assert result["removed"] == 3
    assert any("is not known" in note for note in result["notes"])


def test_credentials_are_refused(broker: Broker) -> None:
    name, password = f"user-{uuid.uuid4().hex}", "p@ss/wörd:%"
    wrong = broker.config(password="wrong-secret")
    for function in (lambda: counts.queue_counts(wrong, ["q"]), lambda: counts.listing(wrong)):
        with pytest.raises(
            KingfisherError, match=r"refuses user operator .those in pillar rabbitmq_queue:user"
        ) as error:
            function()
        assert "wrong-secret" not in str(error.value)
    broker.server.add_user(name, password)
    other = broker.config(username=name, password=password)
    with pytest.raises(KingfisherError, match=r"refuses virtual host .* rabbitmqctl set_permissions"):
        counts.queue_counts(other, ["q"])
    with pytest.raises(KingfisherError, match=r"set_user_tags .* monitoring"):
        counts.listing(other)
    broker.declare("q")
    broker.fill("q", numbered(1))
    broker.server.allow(name, broker.vhost, configure="", write="", read="")
    with pytest.raises(KingfisherError, match="refuses queue q to user"):
        purge.purge(other, "q", confirm="q")
    broker.server.allow(name, broker.vhost)
    broker.server.add_user(name, password, "monitoring")
    file = broker.server.url_file(broker.directory / "url", broker.vhost, name, "p%40ss%2Fw%C3%B6rd%3A%25")
    found = broker.config(username=None, password=None, vhost=None, amqp_url=None, url_file=str(file))
    wait_for(lambda: counts.queue_counts(found, ["q"]) == {"q": {"ready": 1, "unacknowledged": 0, "consumers": 0}})
    assert "wörd" not in repr(found)
    file.chmod(0o640)
    with pytest.raises(KingfisherError, match="can be read by others: chmod 600"):
        broker.config(username=None, password=None, url_file=str(file))
    file.chmod(0o600)
    file.write_text("amqp://localhost")
    with pytest.raises(KingfisherError, match="must hold one line like"):
        broker.config(username=None, password=None, url_file=str(file))


def test_rabbitmq_ends_in_the_middle_of_a_purge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RabbitMQ(tmp_path / "rabbitmq") as server:
        broker = Broker(server, "/", tmp_path)
        broker.declare("q")
        broker.fill("q", numbered(1100))
        remove, calls = purge._remove, []

        def failing(*arguments: Any) -> None:
            calls.append(1)
            if len(calls) == 2:
                server.stop()
            remove(*arguments)

        monkeypatch.setattr(purge, "_remove", failing)
        with pytest.raises(
            KingfisherError, match="ended the connection during the purge of q: 500 messages are removed"
        ):
            broker.purge("q")
        server.start()
        broker = Broker(server, "/", tmp_path)
        assert broker.bodies("q") == numbered(600, 501)
        [file] = broker.files()
        assert broker.restore(file, doubtful="skip")["published"] == 500
        assert broker.bodies("q") == numbered(500)


# settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"amqp_url": "amqp://a:secret@localhost"}, "rabbitmq_queue:amqp_url must not hold credentials"),
        ({"amqp_url": "localhost:5672"}, "rabbitmq_queue:amqp_url must be an address like amqp://localhost:5672"),
        ({"amqp_url": "amqp://localhost/vhost"}, "rabbitmq_queue:amqp_url must end after the port"),
        ({"username": "a"}, "rabbitmq_queue:password is not set"),
        ({"username": "a", "password": "b", "url_file": "/x"}, "rabbitmq_queue:url_file and rabbitmq_queue:username"),
        ({"hosts": 1}, "rabbitmq_queue:hosts is not a setting"),
    ],
)
def test_settings_are_checked(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        config.load(given, {})
    assert "secret" not in str(error.value)
    with pytest.raises(SettingsError, match="argument password is a secret"):
        config.load({}, {"password": "x"})


def test_names_fit_amqp() -> None:
    with pytest.raises(KingfisherError, match="argument queue must be text"):
        amqp.check_name(1, "queue")  # type: ignore[arg-type]
    with pytest.raises(KingfisherError, match="argument queue must be without line breaks"):
        amqp.check_name("new\nline", "queue")
