"""AMQP: a channel, and its errors as sentences."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pika
from pika import exceptions

from ..errors import KingfisherError
from ..settings import nearest
from .config import ROOT, Config
from .management import Management, ManagementError

# pika logs each of its exceptions too, as an error with its traceback.
logging.getLogger("pika").setLevel(logging.CRITICAL)

#: Bytes of a name, in AMQP.
_NAME_LIMIT = 255
_NOT_FOUND, _REFUSED, _LOCKED = 404, 403, 405


class NoConnectionError(KingfisherError):
    """RabbitMQ does not answer, or the connection was lost: what was under way may be done or not."""


class UnknownQueueError(KingfisherError):
    """There is no such queue."""


@contextmanager
def connected(config: Config) -> Iterator[Any]:
    """
    Connect, and return the connection. It is closed in the end, and what was not acknowledged goes back to its queue.

    :raises NoConnectionError: if RabbitMQ does not answer, refuses, or ends the connection
    """
    try:
        connection = pika.BlockingConnection(_parameters(config))
    except (exceptions.ProbableAuthenticationError, exceptions.AuthenticationError) as e:
        raise NoConnectionError(
            f"{config.place} refuses user {config.username} ({config.credentials}): correct the credentials"
        ) from e
    except exceptions.ProbableAccessDeniedError as e:
        raise NoConnectionError(
            f"{config.place} refuses virtual host {config.vhost} to user {config.username}: correct {ROOT}:vhost, or "
            "rabbitmqctl set_permissions"
        ) from e
    except (exceptions.AMQPError, OSError) as e:
        raise NoConnectionError(
            f"{config.place} does not answer ({_cause(e)}): systemctl status rabbitmq-server, or correct "
            f"{ROOT}:amqp_url"
        ) from e
    try:
        yield connection
    except exceptions.ConnectionBlockedTimeout as e:
        raise NoConnectionError(
            f"{config.place} takes no messages, because its memory or disk is full: free some, and rerun"
        ) from e
    except (exceptions.AMQPConnectionError, exceptions.ConnectionWrongStateError) as e:
        raise NoConnectionError(f"{config.place} ended the connection ({_cause(e)}): rerun when it is back") from e
    except exceptions.AMQPChannelError as e:
        raise KingfisherError(f"{config.place} refused what was asked ({_cause(e)}): look at its log") from e
    finally:
        with suppress(exceptions.AMQPError):
            connection.close()


def declared(connection: Any, config: Config, queue: str) -> tuple[int, int]:
    """
    Return how many messages of a queue are ready, and how many consumers it has, both at this moment.

    :raises UnknownQueueError: with the nearest name, if there is no such queue
    :raises KingfisherError: if it may not be used
    """
    check_name(queue, "queue")
    try:
        channel = connection.channel()
        method = channel.queue_declare(queue, passive=True).method
        channel.close()
    except exceptions.ChannelClosedByBroker as e:
        if e.reply_code == _NOT_FOUND:
            raise UnknownQueueError(unknown(config, queue)) from e
        raise refused(config, queue, e) from e
    return method.message_count, method.consumer_count


def refused(config: Config, queue: str, error: Any) -> KingfisherError:
    """Return why a channel was closed, as a sentence."""
    if error.reply_code == _LOCKED:
        return KingfisherError(f"queue {queue} is exclusive: only the connection that declared it can use it")
    if error.reply_code == _REFUSED and "exclusive" in error.reply_text:
        return KingfisherError(f"queue {queue} has a consumer that excludes others: stop that program, and rerun")
    if error.reply_code == _REFUSED:
        return KingfisherError(
            f"{config.place} refuses queue {queue} to user {config.username}: rabbitmqctl set_permissions"
        )
    return KingfisherError(f"{config.place} refused what was asked of queue {queue} ({error.reply_text})")


def unknown(config: Config, queue: str) -> str:
    """Return that there is no such queue, with the nearest name, if the management interface tells one."""
    sentence = f"queue {queue} is unknown in virtual host {config.vhost}"
    try:
        names = [found["name"] for found in Management(config).queues()]
    except ManagementError:
        return f"{sentence}: correct its name, or {ROOT}:vhost"
    return sentence + (nearest(queue, names) if names else f", which has no queues: correct {ROOT}:vhost")


def check_name(name: str, kind: str) -> None:
    """
    Check that a name can be one in AMQP, whatever its characters.

    :raises KingfisherError: if it cannot
    """
    if isinstance(name, str) and ("\n" in name or "\r" in name):
        # RabbitMQ leaves them out where a queue is declared, and pika waits for ever for the name that it asked for.
        raise KingfisherError(f"argument {kind} must be without line breaks, which RabbitMQ drops, not {name!r:.80}")
    size = len(name.encode(errors="surrogateescape")) if isinstance(name, str) else 0
    if not 0 < size <= _NAME_LIMIT:
        raise KingfisherError(f"argument {kind} must be text of 1 to {_NAME_LIMIT} bytes, not {name!r:.80}")


def _parameters(config: Config) -> Any:
    options: dict[str, Any] = {}
    if config.is_encrypted:
        options["ssl_options"] = pika.SSLOptions(ssl.create_default_context(), config.host)
    return pika.ConnectionParameters(
        config.host,
        config.port,
        config.vhost,
        pika.PlainCredentials(config.username, config.password),
        socket_timeout=config.timeout,
        stack_timeout=config.timeout,
        blocked_connection_timeout=config.timeout,
        # So that a server that hangs is noticed.
        heartbeat=max(5, int(config.timeout)),
        client_properties={"connection_name": "kingfisher-salt"},
        **options,
    )


def _cause(error: BaseException) -> str:
    """Return what the system or RabbitMQ said, which pika wraps several times."""
    seen: Any = error
    while isinstance(seen, exceptions.AMQPError) and seen.args and isinstance(seen.args[0], BaseException):
        seen = seen.args[0]
    for found in (seen, getattr(seen, "exception", None)):
        if isinstance(found, OSError) and found.strerror:
            return str(found.strerror)
    if isinstance(seen, (exceptions.ConnectionClosed, exceptions.ChannelClosed)):
        return str(seen.reply_text)
    return str(seen).partition("\n")[0][:200] or type(seen).__name__
