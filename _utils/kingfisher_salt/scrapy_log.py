"""
Read what matters from the log of a Kingfisher Collect crawl, without trusting the log and in bounded memory.

A *record* is a line that starts like ``2020-09-02 05:24:58 [name] `` (Scrapy's default LOG_FORMAT and LOG_DATEFORMAT),
with all lines up to the next such line. Only these records matter:

=========================================================== ===================================================
``[scrapy.core.scraper] DEBUG: Scraped from …``, then a dict an item: File, FileItem or (logs until 2025) FileError
``[spider] ERROR: status=503 message='' request=…``          a retrieval error (logs since 2025)
``[spider] INFO: Spider arguments: {…}``                     the arguments, including those that are not set
``[scrapy.core.engine] INFO: Spider opened``                 a run begins (a resumed crawl has several runs in one log)
``[scrapy.core.engine] INFO: Spider closed (reason)``        a run ends
``[scrapy.statscollectors] INFO: Dumping Scrapy stats:``,    the crawl statistics, when a run ends
then a dict
=========================================================== ===================================================

Sources: Scrapy's ``LogFormatter``; Kingfisher Collect's ``log_formatter.py``, ``items.py`` and ``BaseSpider`` (whose
``log_error_from_response`` writes ``status=%d message=%r request=%s file_name=%s``, at ERROR level unless the spider
expects the error); scrapy-log-analyzer, whose 0.0.5 notes the change from FileError items to ERROR messages.

Dicts are scanned for their top-level keys by :mod:`.reprs`, which parses only the few short values that matter.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, BinaryIO

from .reprs import VALUE_LIMIT, NotClosedError, entries, evaluate

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Bytes that are read at once.
CHUNK = 1 << 20
#: Bytes of one record that are considered: a longer dict is not closed within it, and then is no item. (An item has no
#: data in the log: only a URL, which Scrapy limits to 2,083 characters, a file name and a few words.)
RECORD_LIMIT = 1 << 20
#: Spider arguments that are kept.
MAX_ARGUMENTS = 100
#: Bytes that :func:`read_begin` reads from the head, and from the tail: first the one, then the other.
WINDOWS = (1 << 16, 1 << 20)
#: How far a ``start_time`` in the tail may be from the first line. Otherwise, it is that of a later run. In one run,
#: they differ by seconds, and by the time zone: the statistic is in UTC, the line in local time.
SAME_RUN = timedelta(days=1)

#: Spider arguments that narrow a crawl. https://kingfisher-collect.readthedocs.io/en/latest/spiders.html
NARROWING = frozenset(
    ("from_date", "until_date", "year", "start_page", "publisher", "portal", "system", "path", "sample")
)

_TIME = rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
_HEAD = re.compile(rb"\n(" + _TIME + rb") \[")
_HEAD_LENGTH = len("\n2020-09-02 05:24:58 [")
_LAST_HEAD = re.compile(rb"(?s:.*)(\n" + _TIME + rb" \[)")

# Nearly all items are flat dicts of plain strings and words. In such text, a quote only opens or closes a string, so
# that b"'number': " can only be a key. All other dicts are left to `entries`.
_FLAT_ENTRY = rb"'[^'\\\n]*': (?:'[^'\\\n]*'|\d+|True|False|None|\{'http_code': \d+\})"
_FLAT = rb"\{(?:" + _FLAT_ENTRY + rb",\s+){0,31}" + _FLAT_ENTRY + rb"\}"

_EVENT = re.compile(
    rb"\n" + _TIME + rb" \[(?:"
    rb"scrapy\.core\.scraper\] DEBUG: Scraped from [^\n]*\n(?:(?P<flat>" + _FLAT + rb")|(?=(?P<item>\{)))"
    rb"|scrapy\.core\.engine\] INFO: Spider (?:(?P<opened>opened)|closed \((?P<closed>[^\n]{1,500})\))"
    rb"|scrapy\.statscollectors\] INFO: Dumping Scrapy stats:\r?\n(?=(?P<stats>\{))"
    rb"|[^\]\n]{1,200}\] (?:(?P<error>ERROR: status=\d{1,9} message=)|INFO: Spider arguments: (?=(?P<arguments>\{))))"
)


@dataclass(frozen=True)
class LogFacts:
    """What a crawl's log says about the crawl. Times are naive and in whole seconds."""

    #: The ``start_time`` statistic of the first run that has statistics, in UTC.
    start_time: datetime | None = None
    #: The ``crawl_time`` spider argument, a date being its midnight.
    crawl_time: datetime | None = None
    #: The time of the first line that has one, in the time zone of the log.
    first_time: datetime | None = None
    #: The arguments that are set, as text. Those of later runs are added to those of the first.
    spider_arguments: dict[str, str] = field(default_factory=dict)
    #: Why the last run ended. None if it hasn't ended, or not in order.
    finish_reason: str | None = None
    #: File items.
    files: int = 0
    #: FileItem items.
    file_items: int = 0
    #: FileError items, retrieval errors, and responses that were invalid JSON.
    errors: int = 0

    @property
    def begin(self) -> datetime | None:
        """When the crawl began: what the name of the crawl directory is made from, as scrapy-log-analyzer has it."""
        return self.crawl_time or self.start_time or self.first_time

    @property
    def narrowed_by(self) -> list[str]:
        """
        Return the spider arguments that made the crawl collect a part of the dataset only, sorted.

        ``sample=false`` doesn't, according to Kingfisher Collect's ``BaseSpider``.
        """
        return sorted(
            key
            for key, value in self.spider_arguments.items()
            if (key in NARROWING or key.startswith("qs:")) and (key, value) != ("sample", "false")
        )

    @property
    def finished(self) -> bool:
        """Return whether the crawl ended by itself, rather than by an operator, a signal or a limit."""
        return self.finish_reason == "finished"

    @property
    def error_rate(self) -> float:
        """
        Return errors as a share of all, from 0.0 to 1.0. It is 1.0 if there is nothing at all.

        That is ``ScrapyLogFile.error_rate`` of scrapy-log-analyzer, which returns 1 on ZeroDivisionError.
        """
        total = self.files + self.file_items + self.errors
        return self.errors / total if total else 1.0


def read_log(path: str | os.PathLike[str], *, chunk_size: int = CHUNK) -> LogFacts:
    """
    Return the facts of a whole log, reading it once, in a few MiB of memory.

    :param chunk_size: how many bytes to read at once, which has no effect on the result
    :raises OSError: if it can't be read or isn't a regular file. Nothing else is raised, whatever the log contains.
    """
    with _open(path) as f:
        return read_stream(f, chunk_size=chunk_size)


def read_stream(stream: BinaryIO, *, chunk_size: int = CHUNK) -> LogFacts:
    """Return the facts of a whole log that is not a file of ours, as :func:`read_log` does."""
    reader = _Reader()
    for block in _blocks(stream, chunk_size):
        reader.feed(block)
    return reader.facts()


def read_begin(path: str | os.PathLike[str]) -> datetime | None:
    """
    Return when the crawl began (:attr:`LogFacts.begin`), reading about 1 MiB of the log's head and tail at most.

    If the statistics aren't in either (the crawl was killed, or was resumed), the first line's time has to do.

    :raises OSError: if it can't be read or isn't a regular file
    """
    with _open(path) as f:
        size = os.fstat(f.fileno()).st_size
        for window in WINDOWS:
            reader = _read_window(f, 0, window, size)
            head = reader.facts()
            if window >= size or head.crawl_time or head.start_time:
                return head.begin
            if reader.seen_arguments:
                break
        for window in WINDOWS:
            start_time = _read_window(f, max(0, size - window), window, size).facts().start_time
            if start_time:
                same_run = head.first_time is None or abs(start_time - head.first_time) <= SAME_RUN
                return start_time if same_run else head.begin
        return head.begin


def _open(path: str | os.PathLike[str]) -> BinaryIO:
    """Return an open file. A FIFO, device or directory is an error, and never blocks."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "Not a regular file", os.fspath(path))
    return os.fdopen(fd, "rb", buffering=0)


def _blocks(f: BinaryIO, chunk_size: int) -> Iterator[bytes]:
    """
    Yield a log in blocks, each of which holds whole records.

    A record that is longer than RECORD_LIMIT is cut off there. What follows is in blocks of its own, without a head.
    """
    pending = b"\n"
    while data := f.read(chunk_size):
        pending += data
        if match := _LAST_HEAD.match(pending):
            yield pending[: match.start(1)]
            pending = pending[match.start(1) :]
        if len(pending) > RECORD_LIMIT:
            yield pending[:RECORD_LIMIT]
            # Enough to hold the start of a head, but not a head.
            pending = pending[1 - _HEAD_LENGTH :]
    yield pending


def _read_window(f: BinaryIO, start: int, window: int, size: int) -> _Reader:
    """Return what a part of the file says, leaving out a record that is cut off at either end of it."""
    f.seek(start)
    data = f.read(window)
    if start == 0:
        data = b"\n" + data
    reader = _Reader()
    reader.note_first_time(data)
    if start + window < size and (match := _LAST_HEAD.match(data)):
        data = data[: match.start(1)]
    reader.feed(data)
    return reader


class _Reader:
    """Collects the facts from the blocks of a log. Its result doesn't depend on where a block begins."""

    def __init__(self) -> None:
        self.seen_arguments = False
        self._first_time = b""
        self._start_time: datetime | None = None
        self._arguments: dict[str, str] = {}
        self._finish_reason: str | None = None
        self._files = self._file_items = self._errors = 0

    def facts(self) -> LogFacts:
        return LogFacts(
            start_time=self._start_time,
            crawl_time=_parse_time(self._arguments.get("crawl_time", ""), "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"),
            first_time=_parse_time(self._first_time.decode(), "%Y-%m-%d %H:%M:%S"),
            spider_arguments=dict(self._arguments),
            finish_reason=self._finish_reason,
            files=self._files,
            file_items=self._file_items,
            errors=self._errors,
        )

    def note_first_time(self, block: bytes) -> None:
        if not self._first_time and (match := _HEAD.search(block)):
            self._first_time = match[1]

    def feed(self, block: bytes) -> None:
        self.note_first_time(block)
        for match in _EVENT.finditer(block):
            kind = match.lastgroup
            if kind == "flat":
                if match.end() - match.start() <= RECORD_LIMIT:
                    flat = match["flat"]
                    self._count(b"'errors': " in flat, b"'number': " in flat, b"'data_type': " in flat)
            elif kind == "error":
                self._errors += 1
            elif kind == "opened":
                self._finish_reason = None
            elif kind == "closed":
                self._finish_reason = match["closed"].decode(errors="replace")
            else:
                head = _HEAD.search(block, match.end())
                end = min(head.start() if head else len(block), match.start() + RECORD_LIMIT)
                text = block[match.end() : end]
                if kind == "item":
                    self._item(text)
                elif kind == "stats":
                    self._stats(text)
                else:
                    self._spider_arguments(text)

    def _count(self, has_errors: bool, has_number: bool, has_data_type: bool) -> None:
        """Count an item according to its keys, as scrapy-log-analyzer does, and in that order."""
        if has_errors:
            self._errors += 1
        elif has_number:
            self._file_items += 1
        elif has_data_type:
            self._files += 1

    def _item(self, text: bytes) -> None:
        try:
            keys = {key for key, _ in entries(text) if key in {b"errors", b"number", b"data_type"}}
        except NotClosedError:
            return
        self._count(b"errors" in keys, b"number" in keys, b"data_type" in keys)

    def _stats(self, text: bytes) -> None:
        """Read statistics. If they were cut off, those before the cut count."""
        with suppress(NotClosedError):
            for key, source in entries(text):
                if key not in {b"finish_reason", b"start_time", b"invalid_json_count"}:
                    continue
                try:
                    value = evaluate(source)
                except ValueError:
                    continue
                if key == b"finish_reason" and isinstance(value, str):
                    self._finish_reason = value
                elif key == b"start_time" and isinstance(value, datetime):
                    self._start_time = self._start_time or value
                elif key == b"invalid_json_count" and isinstance(value, int) and value > 0:
                    self._errors += value

    def _spider_arguments(self, text: bytes) -> None:
        """Add arguments that are set, unless an earlier run set them. If the dict was cut off, those before count."""
        self.seen_arguments = True
        with suppress(NotClosedError):
            for key, source in entries(text):
                if len(self._arguments) >= MAX_ARGUMENTS:
                    break
                if value := _argument(source):
                    self._arguments.setdefault(key[:VALUE_LIMIT].decode(errors="replace"), value)


def _argument(source: bytes) -> str:
    """Return a spider argument as text, which is empty if it isn't set."""
    text = source[:VALUE_LIMIT].decode(errors="replace")
    try:
        value = evaluate(source)
    except ValueError:
        return text
    if not value:
        return ""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        # A literal can have surrogates, which can't be written anywhere.
        return value.encode(errors="replace").decode()
    return text


def _parse_time(text: str, *formats: str) -> datetime | None:
    for time_format in formats:
        with suppress(ValueError):
            return datetime.strptime(text, time_format)  # noqa: DTZ007 # naive, like the name of the crawl directory
    return None
