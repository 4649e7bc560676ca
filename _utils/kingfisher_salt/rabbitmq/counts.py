"""How many messages wait, and whether all is quiet."""

from __future__ import annotations

import time
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from ..errors import KingfisherError
from ..settings import nearest
from . import amqp
from .amqp import UnknownQueueError
from .config import Config
from .management import Management, ManagementError

#: Seconds after which the statistics of the management interface are those of now: queues make them every 5 s, and
#: the interface collects them every 5 s.
SETTLED = 12.0
_PAUSE = 1.0
_RATES = {"publish": "incoming", "deliver_get": "delivered", "ack": "acknowledged"}


def listing(config: Config, pattern: str | None = None) -> dict[str, dict[str, Any]]:
    """
    Return ready, unacknowledged, consumers and rates (a second) of each queue, as of some seconds ago.

    What was declared just now has no statistics, which are None.

    :param pattern: a name, in which * and ? stand for others
    """
    return {queue["name"]: _entry(queue) for queue in _matching(config, pattern)}


def queue_counts(config: Config, names: Iterable[str]) -> dict[str, dict[str, int | None] | None]:
    """
    Return ready, unacknowledged and consumers of each queue, or None if there is no such queue.

    ``ready`` and ``consumers`` are those of this moment. ``unacknowledged`` is of some seconds ago, and None if the
    management interface does not tell it.

    :raises KingfisherError: if RabbitMQ does not answer, or a queue may not be used
    """
    statistics = unacknowledged(config)
    counts: dict[str, dict[str, int | None] | None] = {}
    with amqp.connected(config) as connection:
        for name in names:
            try:
                ready, consumers = amqp.declared(connection, config, name)
            except UnknownQueueError:
                counts[name] = None
            else:
                counts[name] = {"ready": ready, "unacknowledged": statistics.get(name), "consumers": consumers}
    return counts


def unacknowledged(config: Config) -> dict[str, int | None]:
    """Return how many messages of each queue are at consumers, or nothing if the management interface is not there."""
    try:
        return {queue["name"]: queue.get("messages_unacknowledged") for queue in Management(config).queues()}
    except ManagementError:
        return {}


def busy(config: Config, pattern: str | None = None, settle: float = SETTLED) -> dict[str, dict[str, Any]]:
    """
    Return the queues that hold messages, or that passed some on meanwhile: none if all is quiet.

    A message that a consumer got just now is in no statistics yet, so that what looks quiet is looked at twice.

    :param settle: for how long to wait before the second look, in seconds; 0 for one look
    :raises KingfisherError: if no queue matches the pattern, or RabbitMQ does not answer
    """
    first, activity = _look(config, pattern)
    if first or not settle:
        return first
    time.sleep(settle)
    second, later = _look(config, pattern)
    moved = {name: {"ready": 0, "unacknowledged": 0} for name in later if later[name] != activity.get(name)}
    return moved | second


def wait(config: Config, pattern: str | None, timeout: float, settle: float = SETTLED) -> dict[str, dict[str, Any]]:
    """Wait until all is quiet, for so many seconds. Returns the queues that are not."""
    deadline = time.monotonic() + timeout
    while found := busy(config, pattern, settle):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        time.sleep(min(_PAUSE, left))
    return found


def _look(config: Config, pattern: str | None) -> tuple[dict[str, dict[str, Any]], dict[str, list[int]]]:
    queues = {queue["name"]: queue for queue in _matching(config, pattern)}
    activity = {name: [queue.get("message_stats", {}).get(key, 0) for key in _RATES] for name, queue in queues.items()}
    found = {}
    shared = [name for name, queue in queues.items() if not queue.get("exclusive")]
    counts = queue_counts(config, shared)
    for name, queue in queues.items():
        entry = {
            # Nobody but its owner can ask for an exclusive queue.
            "ready": (counts[name] or {}).get("ready") if name in counts else queue.get("messages_ready"),
            "unacknowledged": queue.get("messages_unacknowledged"),
        }
        if any(entry.values()):
            found[name] = entry
    return found, activity


def _matching(config: Config, pattern: str | None) -> list[dict[str, Any]]:
    queues = Management(config).queues()
    if pattern is None:
        return queues
    found = [queue for queue in queues if fnmatchcase(queue["name"], pattern)]
    if not found:
        # So that a misspelt name is not taken for a queue that is empty.
        raise KingfisherError(
            f"argument pattern: no queue in virtual host {config.vhost} is like {pattern}"
            + nearest(pattern, [queue["name"] for queue in queues])
        )
    return found


def _entry(queue: dict[str, Any]) -> dict[str, Any]:
    statistics = queue.get("message_stats", {})
    return {
        "type": queue.get("type"),
        "ready": queue.get("messages_ready"),
        "unacknowledged": queue.get("messages_unacknowledged"),
        "consumers": queue.get("consumers"),
        **{name: statistics.get(f"{key}_details", {}).get("rate", 0.0) for key, name in _RATES.items()},
    }
