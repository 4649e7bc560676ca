"""Messages as JSON, and back, to the byte."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pika

PROPERTIES = (
    "content_type",
    "content_encoding",
    "headers",
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
)
#: Headers by which RabbitMQ copies a message to other queues.
_COPIES = ("CC", "BCC")


def properties(given: Any) -> dict[str, Any]:
    """Return a message's properties that are set."""
    found = {name: getattr(given, name) for name in PROPERTIES}
    return {name: _plain(value) for name, value in found.items() if value is not None}


def to_pika(given: Mapping[str, Any], user: str) -> Any:
    """
    Return properties for pika.

    Without another user's name, which RabbitMQ would refuse, and without the headers that would copy the message to
    other queues again.
    """
    values = {name: _typed(value) for name, value in given.items()}
    if values.get("user_id") != user:
        values.pop("user_id", None)
    if "headers" in values:
        values["headers"] = {name: value for name, value in values["headers"].items() if name not in _COPIES}
    return pika.BasicProperties(**values)


def body(given: bytes) -> dict[str, str]:
    """Return a body as ``text`` if it is such, else as ``base64``."""
    try:
        return {"text": given.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(given).decode()}


def to_bytes(message: Mapping[str, Any]) -> bytes:
    if "text" in message:
        return str(message["text"]).encode()
    return base64.b64decode(message["base64"], validate=True)


def shown(given: bytes, limit: int) -> dict[str, Any]:
    """Return a body for people: the ``message`` if it is JSON, else text or base64. If it is long, its beginning."""
    if len(given) > limit:
        return {"text": given[:limit].decode(errors="replace"), "cut_at": limit}
    try:
        return {"message": json.loads(given)}
    except ValueError:
        return body(given)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        # pika gives a time in UTC without saying so.
        return {"$time": int(value.replace(tzinfo=timezone.utc).timestamp())}
    if isinstance(value, Decimal):
        return {"$decimal": str(value)}
    if isinstance(value, Mapping):
        return {"$table": {name: _plain(item) for name, item in value.items()}}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _typed(value: Any) -> Any:
    if isinstance(value, list):
        return [_typed(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    [(kind, item)] = value.items()
    if kind == "$bytes":
        return base64.b64decode(item)
    if kind == "$time":
        return datetime.fromtimestamp(item, timezone.utc).replace(tzinfo=None)
    if kind == "$decimal":
        return Decimal(item)
    return {name: _typed(part) for name, part in item.items()}
