"""Look at the first messages of a queue, and leave them there."""

from __future__ import annotations

import time
from typing import Any

from pika import exceptions

from ..errors import KingfisherError
from . import amqp, messages
from .config import Config
from .management import Management

#: Bytes of a body that are shown.
BODY_LIMIT = 2_000
#: For how long to wait until messages are back, in seconds: consumers may have taken them.
_RETURN = 2
_DELIVERY_LIMIT = ("x-delivery-limit", "delivery-limit")


def peek(config: Config, queue: str, count: int) -> dict[str, Any]:
    """
    Return the first messages of a queue. They keep their order and place, and are marked as redelivered from then on.

    :raises KingfisherError: if looking could drop messages
    """
    with amqp.connected(config) as connection:
        ready, consumers = amqp.declared(connection, config, queue)
        _check_limit(connection, config, queue)
        channel = connection.channel()
        found: list[dict[str, Any]] = []
        try:
            while len(found) < count:
                method, properties, body = channel.basic_get(queue)
                if method is None:
                    break
                found.append(
                    {
                        "exchange": method.exchange,
                        "routing_key": method.routing_key,
                        "redelivered": method.redelivered,
                        "bytes": len(body),
                        "properties": messages.properties(properties),
                        **messages.shown(body, BODY_LIMIT),
                    }
                )
        except exceptions.ChannelClosedByBroker as e:
            raise amqp.refused(config, queue, e) from e
        # Unacknowledged, they return to their places. A quorum queue would put what is rejected at its end.
        channel.close()
        # It takes them back a moment later, and until then the next look would begin after them.
        deadline = time.monotonic() + _RETURN
        while amqp.declared(connection, config, queue)[0] < ready and time.monotonic() < deadline:
            time.sleep(0.05)
    return {"queue": queue, "ready": ready, "consumers": consumers, "messages": found}


def _check_limit(connection: Any, config: Config, queue: str) -> None:
    """Refuse a queue that drops what was delivered too often, which a look counts towards."""
    details = Management(config).queue(queue)
    if details.get("type") != "quorum":
        return
    limits = {**(details.get("effective_policy_definition") or {}), **(details.get("arguments") or {})}
    version = str(connection._impl.server_properties.get("version", b""))  # noqa: SLF001 - pika shows it nowhere else
    if any(name in limits for name in _DELIVERY_LIMIT) or not version.startswith("3."):
        raise KingfisherError(
            f"queue {queue} drops messages that were delivered too often, which each look counts towards: look at its "
            "consumer's log instead, or purge it, which writes them to a file"
        )
