"""Take apart what Python's ``repr`` made of dicts, without running or trusting any of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from typing import Any

#: Bytes of a value that are parsed, or kept.
VALUE_LIMIT = 1000

_TOKEN = re.compile(rb"\\.|[\n\"'{}()\[\]:,]", re.DOTALL)

_NAMES: dict[str, Any] = {
    "datetime.datetime": datetime,
    "datetime.date": date,
    "datetime.timedelta": timedelta,
    "datetime.timezone": timezone,
    "datetime.timezone.utc": timezone.utc,
}
# What ast and datetime raise on text that isn't what it should be.
_PARSE_ERRORS = (ValueError, TypeError, LookupError, SyntaxError, ArithmeticError, RecursionError, MemoryError)


class NotClosedError(Exception):
    """The text ends, or a string does, before the dict does."""


def entries(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """
    Yield the string keys of a dict's representation, as they are between the quotes, with the source of their values.

    The text starts with ``{``. What follows the dict is left alone. Values can be anything: other dicts, reprs of
    objects. Brackets are counted, not matched. Nothing recurses, however deep they are.

    :raises NotClosedError: after the last complete entry, if the dict isn't closed
    """
    depth = 0
    quote = b""  # that of the string that is open
    start = 1  # where that string begins
    entry = 1  # where the entry, or what follows its key, or its value begins
    string: bytes | None = None  # the first string of the entry
    key: bytes | None = None
    state = "key"  # then "colon", then "value"
    for match in _TOKEN.finditer(text):
        token, position = match[0], match.start()
        if quote:
            if token == b"\n":
                break
            if token == quote:
                quote = b""
                if depth == 1 and state == "key":
                    string = text[start:position] if not text[entry : start - 1].strip() else None
                    state, entry = "colon", position + 1
        elif token in b"'\"":
            quote, start = token, position + 1
        elif token[:1] == b"\\":
            break
        elif token in b"{[(":
            depth += 1
        elif depth == 1 and token == b":" and state != "value":
            key = string if not text[entry:position].strip() else None
            state, entry = "value", position + 1
        elif depth == 1 and token in b",}":
            if key is not None:
                yield key, text[entry:position].strip()
            if token == b"}":
                return
            state, entry, string, key = "key", position + 1, None, None
        elif token in b"}])":
            depth -= 1
    raise NotClosedError


def evaluate(source: bytes) -> Any:
    """
    Return the value of a Python literal, or of a date or datetime as :func:`repr` writes it.

    A datetime becomes naive, in UTC, in whole seconds.

    :raises ValueError: if it's anything else, or longer than VALUE_LIMIT
    """
    if len(source) > VALUE_LIMIT:
        raise ValueError("too long")
    try:
        value = _evaluate_node(ast.parse(source.decode(), mode="eval").body)
        if not isinstance(value, datetime):
            return value
        if value.tzinfo:
            value = value.astimezone(timezone.utc)
        return value.replace(microsecond=0, tzinfo=None)
    except _PARSE_ERRORS as e:
        raise ValueError("no literal or date") from e


def _evaluate_node(node: ast.expr) -> Any:
    if isinstance(node, ast.Call):
        arguments = [_evaluate_node(argument) for argument in node.args]
        keywords = {str(keyword.arg): _evaluate_node(keyword.value) for keyword in node.keywords}
        return _NAMES[ast.unparse(node.func)](*arguments, **keywords)
    if isinstance(node, ast.Attribute):
        return _NAMES[ast.unparse(node)]
    return ast.literal_eval(node)
