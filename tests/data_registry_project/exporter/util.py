import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pika
from django.conf import settings

logger = logging.getLogger(__name__)


class Export:
    def __init__(self, *components: Any):
        self.directory = Path(settings.EXPORTER_DIR).joinpath(*map(str, components))


def _channel() -> Any:
    connection = pika.BlockingConnection(pika.URLParameters(settings.RABBIT_URL))
    channel = connection.channel()
    channel.exchange_declare(settings.RABBIT_EXCHANGE_NAME, "direct", durable=True)
    return connection, channel


def publish(message: Any, routing_key: str) -> None:
    """Publish a message, which is lost if there is no queue for it, as with the Data Registry's own function."""
    connection, channel = _channel()
    exchange = settings.RABBIT_EXCHANGE_NAME
    properties = pika.BasicProperties(delivery_mode=2, content_type="application/json")
    channel.basic_publish(exchange, f"{exchange}_{routing_key}", json.dumps(message).encode(), properties)
    connection.close()


def declare(*queues: str) -> None:
    connection, channel = _channel()
    exchange = settings.RABBIT_EXCHANGE_NAME
    for queue in queues:
        channel.queue_declare(f"{exchange}_{queue}", durable=True)
        channel.queue_bind(f"{exchange}_{queue}", exchange, f"{exchange}_{queue}")
    connection.close()


def write_files(queue: str, *names: str) -> None:
    """Write files for each job that a message tells of, and say so in the log."""

    def write(message: Any) -> None:
        directory = Export(message["job_id"]).directory
        directory.mkdir(parents=True, exist_ok=True)
        for name in names:
            (directory / name).write_text("x")
        logger.info("Wrote %s for %s", ", ".join(names), message)

    consume(queue, write)


def consume(queue: str, callback: Callable[[Any], None]) -> None:
    declare(queue)
    _, channel = _channel()

    def on_message(_: Any, method: Any, __: Any, body: bytes) -> None:
        callback(json.loads(body))
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume(f"{settings.RABBIT_EXCHANGE_NAME}_{queue}", on_message)
    channel.start_consuming()
