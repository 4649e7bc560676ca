"""Publish a message, if a queue receives it."""

from __future__ import annotations

import json
from typing import Any

import pika
from pika import exceptions

from ..errors import KingfisherError
from ..settings import nearest
from . import amqp
from .config import Config
from .management import AbsentError, Management, ManagementError

_PERSISTENT = 2


def publish(
    config: Config, key: str, message: Any, *, exchange: str | None = None, dry_run: bool = False
) -> dict[str, Any]:
    """
    Publish a message as yapw does: persistent, as JSON. RabbitMQ confirms that a queue has it.

    :param key: a queue or, with an exchange, a routing key, which may lack the ``EXCHANGE_`` that yapw puts before it
    :returns: exchange, routing_key, bytes and whether it was published
    :raises KingfisherError: if no queue would receive it, or it is not confirmed
    """
    amqp.check_name(key, "queue")
    body = _encode(message)
    with amqp.connected(config) as connection:
        if exchange:
            keys = [key] if key.startswith(f"{exchange}_") else [key, f"{exchange}_{key}"]
            _check_exchange(connection, config, exchange)
        else:
            keys = [key]
            amqp.declared(connection, config, key)
        if dry_run:
            found = _routed(config, exchange, keys) if exchange else key
        else:
            found = _send(connection, config, exchange or "", keys, body)
    if found is None:
        raise KingfisherError(_unrouted(config, exchange or "", keys))
    return {"exchange": exchange or "", "routing_key": found, "bytes": len(body), "published": not dry_run}


def _encode(message: Any) -> bytes:
    if isinstance(message, str):
        try:
            message = json.loads(message)
        except ValueError as e:
            raise KingfisherError(f"argument message is not JSON ({e}): write it like '{{\"job_id\": 1}}'") from e
    try:
        return json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as e:
        raise KingfisherError(f"argument message cannot be JSON ({e}): put texts and dates into quotes") from e


def _check_exchange(connection: Any, config: Config, exchange: str) -> None:
    amqp.check_name(exchange, "exchange")
    try:
        channel = connection.channel()
        channel.exchange_declare(exchange, passive=True)
        channel.close()
    except exceptions.ChannelClosedByBroker as e:
        sentence = f"argument exchange: {exchange} is unknown in virtual host {config.vhost}"
        try:
            sentence += nearest(exchange, Management(config).exchanges())
        except ManagementError:
            sentence += ": correct its name, or the virtual host"
        raise KingfisherError(sentence) from e


def _send(connection: Any, config: Config, exchange: str, keys: list[str], body: bytes) -> str | None:
    """Publish with the first key that leads to a queue, and return it, or None if none does."""
    channel = connection.channel()
    channel.confirm_delivery()
    properties = pika.BasicProperties(delivery_mode=_PERSISTENT, content_type="application/json")
    for key in keys:
        try:
            channel.basic_publish(exchange, key, body, properties, mandatory=True)
        except exceptions.UnroutableError:
            continue
        except exceptions.NackError as e:
            raise KingfisherError(f"{config.place} did not take the message for {key}, which may be full: look") from e
        except exceptions.ChannelClosedByBroker as e:
            raise amqp.refused(config, key, e) from e
        return key
    return None


def _routed(config: Config, exchange: str, keys: list[str]) -> str | None:
    """Return the first key that is bound, as far as that can be told without publishing."""
    management = Management(config)
    try:
        kind, bindings = management.exchange(exchange)["type"], management.bindings(exchange)
    except AbsentError:
        return None
    if kind == "direct":
        bound = {binding["routing_key"] for binding in bindings}
        return next((key for key in keys if key in bound), None)
    return keys[0] if bindings else None


def _unrouted(config: Config, exchange: str, keys: list[str]) -> str:
    sentence = f"no queue is bound to exchange {exchange} with routing key {' or '.join(keys)}"
    try:
        bound = {binding["routing_key"] for binding in Management(config).bindings(exchange)}
    except ManagementError:
        bound = set()
    if not bound:
        return f"{sentence}, so that nothing was published: start the program that declares it"
    return f"{sentence}, so that nothing was published{nearest(keys[-1], bound)}"
