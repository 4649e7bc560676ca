"""Settings that become times in a line of crontab(5)."""

from __future__ import annotations

from .settings import Key


def field(value: str | int) -> str | None:
    """Check that a setting is one field of a line in crontab(5), and begins neither another field nor another line."""
    text = str(value)
    good = text.split() == [text] and text.isprintable()
    return None if good else "must be a field of a line in crontab(5), like 5 or */5"


def times(minute: str | int = 0, hour: str | int = "*") -> dict[str, Key]:
    """Return the five settings of a line, with their defaults."""
    defaults = {"minute": minute, "hour": hour, "daymonth": "*", "month": "*", "dayweek": "*"}
    return {name: Key((str, int), default, field) for name, default in defaults.items()}
