"""What a person sees of a job that goes on: text, from the events that it sends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TextIO

#: Over how many seconds the rate is taken.
RATE_WINDOW = 30.0
#: The least time between two looks at the same job, in seconds: on a terminal, and elsewhere.
TERMINAL_INTERVAL = 0.2
PLAIN_INTERVAL = 10.0
BAR_WIDTH = 20

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_CLEAR_TO_END = "\x1b[J"


def show_bytes(count: float) -> str:
    """Return a number of bytes with three significant digits, like ``1.24 GB``."""
    unit = 0
    while count >= 999.5 and unit < len(_UNITS) - 1:
        count /= 1000
        unit += 1
    digits = 0 if unit == 0 or count >= 99.95 else 1 if count >= 9.995 else 2
    return f"{count:.{digits}f} {_UNITS[unit]}"


def show_seconds(seconds: float) -> str:
    """Return a duration as a clock shows it, like ``0:42`` or ``1:02:03``."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def show_crawls(count: int) -> str:
    return f"{count} crawl" if count == 1 else f"{count} crawls"


def describe_summary(summary: Mapping[str, Any]) -> str:
    """Return the summary of a run as one line."""
    dry_run = bool(summary.get("dry_run"))
    counted = _whole(summary, "archive" if dry_run else "archived")
    size, seconds, rate = (_number(summary, key) for key in ("bytes", "seconds", "bytes_per_second"))
    text = f"{'would archive' if dry_run else 'archived'} {counted} of {show_crawls(_whole(summary, 'crawls'))}"
    text += f", {show_bytes(size)}" if dry_run else f", {show_bytes(size)} in {show_seconds(seconds)}"
    if size and rate and not dry_run:
        text += f", {show_bytes(rate)}/s"
    if failed := _whole(summary, "failed"):
        text += f", {failed} failed"
    return text


class Progress:
    """A run on one minion, as its events tell it. Times are in seconds, of any clock that does not go backwards."""

    def __init__(self, name: str, now: float) -> None:
        self.name = name
        self._since = now
        self._started = False
        self._dry_run = False
        self._done = self._total = self._failed = 0
        self._position = self._total_bytes = 0.0
        self._crawl = ""
        self._samples: deque[tuple[float, float]] = deque()

    def update(self, event: str, data: Mapping[str, Any], now: float) -> str | None:
        """
        Take an event of the run: ``start``, ``progress``, ``crawl`` or ``end``.

        :returns: what is worth a line of its own: that a crawl failed, and why
        """
        self._started = True
        self._dry_run = bool(data.get("dry_run", self._dry_run))
        self._done, self._total, self._failed = (_whole(data, key) for key in ("done", "total", "failed"))
        self._total_bytes = _number(data, "total_bytes")
        failed = event == "crawl" and data.get("result") == "failed"
        position = _number(data, "read" if event == "progress" else "done_bytes")
        # Several crawls are read at once, and an event tells of one: so an event may tell less than the one before.
        # What was read of a crawl that failed does not count.
        self._position = position if failed else max(position, self._position)
        if not self._samples:
            # As if it had gone on evenly since the run began, which may be long before anyone followed it.
            self._samples.append((now - _number(data, "seconds"), 0))
        self._samples.append((now, self._position))
        self._crawl = printable(data.get("id", "")) if event == "progress" else ""
        return printable(data.get("error", "")) if failed else None

    def rate(self, now: float) -> float:
        """Return the bytes per second of late, 0 if nothing moved."""
        while len(self._samples) > 1 and self._samples[1][0] <= now - RATE_WINDOW:
            self._samples.popleft()
        if not self._samples:
            return 0
        at, position = self._samples[0]
        return max(0.0, self._position - position) / (now - at) if now > at else 0

    def describe(self, now: float, *, bar: bool = False) -> str:
        """Return where the run is, as one line."""
        if not self._started:
            return f"deciding which crawls to archive, {show_seconds(now - self._since)}"
        if self._dry_run:
            return f"would archive {show_crawls(self._total)}, {show_bytes(self._total_bytes)}"
        if not self._total:
            return "nothing to archive"
        part = self._position / self._total_bytes if self._total_bytes else self._done / self._total
        part = min(1.0, part)
        rate = self.rate(now)
        pieces = [f"[{'#' * int(part * BAR_WIDTH):.<{BAR_WIDTH}}]"] if bar else []
        pieces += [
            f"{int(part * 100):3}%" if bar else f"{int(part * 100)}%",
            f"{self._done}/{show_crawls(self._total)}",
            *([f"{self._failed} failed"] if self._failed else []),
            f"{show_bytes(self._position)} of {show_bytes(self._total_bytes)}",
            f"{show_bytes(rate)}/s",
        ]
        if rate:
            pieces.append(f"{show_seconds((self._total_bytes - self._position) / rate)} left")
        if self._crawl:
            pieces.append(self._crawl)
        return "  ".join(pieces) if bar else ", ".join(pieces)


class Board:
    """
    Shows runs: on a terminal in its last lines, in place; elsewhere, as a line now and then.

    Nobody needs to see it: if it cannot be written, it is silent.
    """

    def __init__(self, stream: TextIO, size: Callable[[], tuple[int, int]] | None) -> None:
        """:param size: returns the columns and lines of the terminal, or is None if the stream is none."""
        self._stream = stream
        self._size = size
        self._lines = 0
        self._last: float | None = None
        self._shown: dict[str, str] = {}

    def say(self, text: str) -> None:
        """Write a line that stays."""
        self._write(f"{self._erase()}{text}\n")
        if self._size:
            self._last = None

    def show(self, runs: Sequence[Progress], now: float) -> None:
        """Write where the runs are, unless that was done a moment ago."""
        interval = TERMINAL_INTERVAL if self._size else PLAIN_INTERVAL
        if self._last is None and not self._size:
            self._last = now
        if self._last is not None and now - self._last < interval:
            return
        self._last = now
        if self._size:
            self._draw(runs, now, *self._size())
        else:
            self._list(runs, now)

    def close(self) -> None:
        """Take away what does not stay."""
        self._write(self._erase())

    def _draw(self, runs: Sequence[Progress], now: float, columns: int, rows: int) -> None:
        columns, rows = columns or 80, rows or 24  # some terminals do not say
        width = max((len(run.name) for run in runs), default=0)
        room = max(1, rows - 2)
        lines = [f"{run.name:{width}}  {run.describe(now, bar=True)}" for run in runs[:room]]
        if len(runs) > room:
            lines.append(f"and {len(runs) - room} more")
        text = self._erase() + "".join(f"{line[: max(1, columns - 1)]}\n" for line in lines)
        self._lines = len(lines)
        self._write(text)

    def _list(self, runs: Sequence[Progress], now: float) -> None:
        for run in runs:
            line = run.describe(now)
            if self._shown.get(run.name) != line:
                self._shown[run.name] = line
                self._write(f"{run.name}: {line}\n")

    def _erase(self) -> str:
        lines, self._lines = self._lines, 0
        return f"\x1b[{lines}A\r{_CLEAR_TO_END}" if lines else ""

    def _write(self, text: str) -> None:
        if not text:
            return
        with suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


def printable(text: object) -> str:
    """Return a text without what could move a terminal's cursor."""
    return "".join(char if char.isprintable() else "?" for char in str(text))


def _number(data: Mapping[str, Any], key: str) -> float:
    value = data.get(key)
    return max(0, value) if isinstance(value, (int, float)) else 0


def _whole(data: Mapping[str, Any], key: str) -> int:
    return int(_number(data, key))
