"""What settings of servers are checked by."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any


def one_of(*allowed: str) -> Callable[[Any], str | None]:
    """Return a check that a setting is one of some words."""
    return lambda value: None if value in allowed else f"must be one of {', '.join(allowed)}"


def one_line(value: str) -> str | None:
    """Check that a setting cannot begin another line of a configuration file."""
    return None if value.isprintable() else "must be one line"


def texts(values: list[Any]) -> str | None:
    """Check that a setting is a list of lines of text."""
    return (
        None
        if all(isinstance(value, str) and value and value.isprintable() for value in values)
        else ("must be a list of texts of one line")
    )


def some_texts(values: list[Any]) -> str | None:
    """Check that a setting is a list of texts with something in it."""
    return texts(values) if values else "must have an entry"


def ports(values: list[Any]) -> str | None:
    """Check that a setting is a list of TCP ports."""
    fits = all(isinstance(value, int) and 0 < value < 65536 for value in values)
    return None if fits else "must be a list of ports"


def port(value: int) -> str | None:
    """Check that a setting is a TCP port."""
    return ports([value]) and "must be a port"


def addresses(version: int) -> Callable[[list[Any]], str | None]:
    """Return a check that a setting is a list of IP addresses of a version."""

    def check(values: list[Any]) -> str | None:
        wrong = [value for value in values if not _is_address(value, version)]
        return f"must be a list of IPv{version} addresses, and {wrong[0]} is none" if wrong else None

    return check


def _is_address(value: Any, version: int) -> bool:
    try:
        return ipaddress.ip_address(value).version == version if isinstance(value, str) else False
    except ValueError:
        return False
