"""What a check says: one line and an exit code, by the convention of the monitoring plugins."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

#: Characters of the text that are worth showing. NRPE cuts off at 1024 bytes.
_LIMIT = 600


class State(enum.IntEnum):
    """The states that the convention has. Their numbers are the exit codes."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


#: From the best to the worst. What is not known may hide something, but less than what is known to be wrong.
_SEVERITY = (State.OK, State.UNKNOWN, State.WARNING, State.CRITICAL)


def worst(states: list[State]) -> State:
    return max(states, key=_SEVERITY.index, default=State.UNKNOWN)


@dataclass(frozen=True)
class Report:
    """The result of a check."""

    state: State
    text: str
    #: By label: the value, with its thresholds, as in ``12.3s;120;3600;0``.
    performance: Mapping[str, str] = field(default_factory=dict)

    @property
    def line(self) -> str:
        # A bar begins the performance data, and a line feed what is shown as details.
        text = re.sub(r"\s+", " ", self.text.replace("|", "/")).strip()
        if len(text) > _LIMIT:
            text = f"{text[: _LIMIT - 3]}..."
        data = " ".join(f"'{label}'={value}" for label, value in self.performance.items())
        return f"DEPOSIT {self.state.name} - {text}" + (f" | {data}" if data else "")


def seconds(value: float, warning: float | None = None, critical: float | None = None) -> str:
    """Return a duration as performance data."""
    limits = ["" if limit is None else f"{limit:g}" for limit in (warning, critical)]
    return f"{value:.1f}s;{limits[0]};{limits[1]};0"
