"""Purge a queue into a file: no message is removed before it is on disk."""

from __future__ import annotations

import time
from typing import Any

from pika import exceptions

from ..errors import KingfisherError
from . import amqp, counts, messages, purgefile
from .config import ROOT, Config

#: Messages that are written, then removed, at once, and that are in memory at most.
BATCH = 500
WARNING = "this affects all running jobs: messages of one job cannot be told from those of others"
#: Ours come first to this consumer, as long as it is there.
_PRIORITY = {"x-priority": 1000}


def purge(config: Config, queue: str, *, confirm: str | None = None, dry_run: bool = False) -> dict[str, Any]:
    """
    Write the messages that are ready in a queue to a file, and remove those that are written.

    Messages that arrive meanwhile stay. Killed at any time, no message is lost: the last ones may be in the file and
    in the queue, which the file tells.

    :param confirm: the queue's name again
    :raises KingfisherError: if it is not confirmed, or something fails. The text says how many were removed, and the
        name of the file
    """
    with amqp.connected(config) as connection:
        ready, consumers = amqp.declared(connection, config, queue)
        held = counts.unacknowledged(config).get(queue)
        path = purgefile.path_for(config.directory, queue)
        result: dict[str, Any] = {
            "queue": queue,
            "vhost": config.vhost,
            "ready": ready,
            "unacknowledged": held,
            "consumers": consumers,
            "removed": 0,
            "file": str(path) if ready else None,
            "notes": [WARNING],
        }
        if consumers:
            result["notes"].append(
                f"{consumers} consumers are attached, which go on with what they have: stop their programs to be sure"
            )
        if held:
            result["notes"].append(f"{held} messages are at consumers, and are not removed")
        if held is None:
            result["notes"].append("how many messages are at consumers is not known: the management interface is down")
        if dry_run:
            return result
        if confirm != queue:
            raise KingfisherError(
                f"queue {queue} holds {ready} messages, and {WARNING}: if that is meant, confirm={queue}"
            )
        if ready:
            result["removed"] = _purge(connection, config, queue, ready, path)
    if result["removed"] < ready:
        result["notes"].append(f"{ready - result['removed']} messages went to consumers meanwhile")
    if not result["removed"]:
        result["file"] = None
    return result


def _purge(connection: Any, config: Config, queue: str, ready: int, path: Any) -> int:
    header = {
        "vhost": config.vhost,
        "queue": queue,
        "since": time.strftime("%Y-%m-%d %H:%M:%S%z"),
        "ready": ready,
    }
    try:
        writer = purgefile.Writer(path, header)
    except OSError as e:
        raise KingfisherError(
            f"{path} cannot be written: {e.strerror}: nothing was removed: correct {ROOT}:directory, and rerun"
        ) from e
    try:
        _drain(connection, config, queue, ready, writer)
    except OSError as e:
        raise KingfisherError(
            f"{path} cannot be written: {e.strerror}: {writer.done} messages are in it and removed, and the others "
            "are in the queue: free some room, and rerun"
        ) from e
    except exceptions.ChannelClosedByBroker as e:
        raise amqp.refused(config, queue, e) from e
    except exceptions.AMQPConnectionError as e:
        raise KingfisherError(
            f"{config.place} ended the connection during the purge of {queue}: {writer.done} messages are removed for "
            f"certain{f', and {path} has them' if writer.done else ''}: rerun when it is back"
        ) from e
    finally:
        writer.close()
    return writer.done


def _drain(connection: Any, config: Config, queue: str, ready: int, writer: purgefile.Writer) -> None:
    """Write and remove up to as many messages as were ready."""
    channel = connection.channel()
    channel.basic_qos(prefetch_count=BATCH)
    deadline = time.monotonic() + config.timeout
    tag = 0
    for method, properties, body in channel.consume(queue, arguments=_PRIORITY, inactivity_timeout=1):
        if method is None:
            left = channel.queue_declare(queue, passive=True).method.message_count
            if not left:
                break
            if time.monotonic() > deadline and not tag and not writer.done:
                raise KingfisherError(
                    f"queue {queue} gives its messages to another consumer alone: stop that program, and rerun"
                )
            if time.monotonic() > deadline:
                break
        else:
            deadline = time.monotonic() + config.timeout
            tag = method.delivery_tag
            writer.add(
                {
                    "exchange": method.exchange,
                    "routing_key": method.routing_key,
                    "redelivered": method.redelivered,
                    "properties": messages.properties(properties),
                    **messages.body(body),
                }
            )
        if tag and (method is None or writer.count % BATCH == 0 or writer.count == ready):
            _remove(channel, queue, tag, writer)
            tag = 0
        if writer.count == ready:
            break
    if tag:
        _remove(channel, queue, tag, writer)
    channel.close()  # what was delivered beyond goes back to its place


def _remove(channel: Any, queue: str, tag: int, writer: purgefile.Writer) -> None:
    writer.keep()
    channel.basic_ack(tag, multiple=True)
    # RabbitMQ confirms no acknowledgement, but does one thing after another: with this answer, it has done the first.
    channel.queue_declare(queue, passive=True)
    writer.removed()
