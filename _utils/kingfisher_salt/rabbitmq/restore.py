"""Publish what a purge removed: once, in order, also if it is killed and run again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pika import exceptions

from ..errors import KingfisherError
from . import amqp, messages, purgefile
from .config import Config
from .purgefile import Content

DOUBTFUL = ("publish", "skip")
#: After how many messages the progress is on disk, for a power cut. A process that is killed loses none of it.
_SYNC = 100


def restore(config: Config, path: Path, *, doubtful: str | None = None, dry_run: bool = False) -> dict[str, Any]:
    """
    Publish a purge's messages to their queue, in their order, each confirmed.

    :param doubtful: what to do with messages that may be in the queue already, because a purge or a restore was killed
    :returns: queue, messages, published, restored_before and ``doubtful``: the numbers of such messages
    :raises KingfisherError: if there are such messages and nothing is said about them, or something fails
    """
    with purgefile.opened(path) as content:
        if content.vhost != config.vhost:
            raise KingfisherError(f"{path} is of virtual host {content.vhost}: restore it with vhost={content.vhost}")
        progress = Progress(path)
        doubts = list(range(content.acknowledged + 1, content.total + 1))
        doubts = [number for number in [progress.begun, *doubts] if number > progress.done]
        doubts = sorted(set(doubts))
        result: dict[str, Any] = {
            "queue": content.queue,
            "messages": content.total,
            "restored_before": progress.done,
            "doubtful": doubts,
            "published": 0,
        }
        with amqp.connected(config) as connection:
            ready, consumers = amqp.declared(connection, config, content.queue)
            result |= {"ready": ready, "consumers": consumers}
            if dry_run:
                return result
            if doubts and doubtful is None:
                raise KingfisherError(
                    f"{_numbers(doubts)} in {path} may be in queue {content.queue} already, because a purge or a "
                    "restore was killed: look at the queue, then doubtful=publish or doubtful=skip"
                )
            skipped = set(doubts) if doubtful == "skip" else set()
            try:
                progress.open()
                result["published"] = _publish(connection, config, content, progress, skipped)
            except OSError as e:
                raise KingfisherError(
                    f"{progress.path} cannot be written: {e.strerror}: free some room, or let this user write it, and "
                    "rerun, which goes on where this ended"
                ) from e
            finally:
                progress.close()
    return result


class Progress:
    """How far a restore is: the last message that RabbitMQ confirmed, and the one that was begun."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f"{path.name}.progress")
        self.done = self.begun = 0
        self._descriptor = -1
        try:
            self.done, self.begun = map(int, self.path.read_text(encoding="utf-8").split())
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as e:
            raise KingfisherError(
                f"{self.path} cannot be used ({e}): correct it, or move it away to publish everything from the begin"
            ) from e

    def begin(self, number: int) -> None:
        self.begun = number
        self._write()

    def end(self, number: int) -> None:
        self.done = self.begun = number
        self._write()
        if number % _SYNC == 0:
            os.fsync(self._descriptor)

    def revert(self) -> None:
        """Note that RabbitMQ refused the message that was begun."""
        self.begun = self.done
        self._write()

    def _write(self) -> None:
        # In its place, so that it is as long as before, and no moment is without it.
        os.pwrite(self._descriptor, f"{self.done:020d} {self.begun:020d}\n".encode(), 0)

    def open(self) -> None:
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._write()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.fsync(self._descriptor)
            os.close(self._descriptor)


def _publish(connection: Any, config: Config, content: Content, progress: Progress, skipped: set[int]) -> int:
    channel = connection.channel()
    channel.confirm_delivery()
    published = 0
    for message in content.messages(progress.done + 1):
        number = message["number"]
        if number not in skipped:
            properties = messages.to_pika(message["properties"], config.username)
            progress.begin(number)
            try:
                channel.basic_publish("", content.queue, messages.to_bytes(message), properties, mandatory=True)
            except (exceptions.UnroutableError, exceptions.NackError) as e:
                progress.revert()
                raise KingfisherError(
                    f"queue {content.queue} did not take message {number}, since it is full or was deleted: put that "
                    "right, and rerun, which goes on there"
                ) from e
            except exceptions.ChannelClosedByBroker as e:
                progress.revert()
                raise amqp.refused(config, content.queue, e) from e
            published += 1
        progress.end(number)
    return published


def _numbers(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"message {numbers[0]}"
    return f"{len(numbers)} messages from {numbers[0]} to {numbers[-1]}"
