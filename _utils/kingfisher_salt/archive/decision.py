"""Which crawl of a month is kept. Nothing here reads or writes anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

ARCHIVE = "archive"
KEEP = "keep"
SKIP = "skip"
REJECT = "reject"

Period = tuple[int, int]


@dataclass(frozen=True)
class Facts:
    """What is compared of a crawl or an archive."""

    id: str
    period: Period
    bytes: int
    files: int
    errors: int
    #: Of these bytes, those that are data, without Kingfisher Collect's own files.
    data_bytes: int
    #: The checksum of the data. Called only if the answer depends on it, since it reads the data.
    data_checksum: Callable[[], str]

    @property
    def version(self) -> str:
        return self.id.rpartition("/")[2]


@dataclass(frozen=True)
class Decision:
    """What is done with a crawl, why, and the id of what it was compared with."""

    action: str
    reason: str
    compared_with: str | None = None


def decide(crawl: Facts, same_period: Facts | None, earlier: Facts | None) -> Decision:
    """
    Compare a crawl with the archive of its month, else with the latest archive of an earlier month.

    A crawl never replaces a later one of its month: it was compared when its turn came, and the answer of then would
    have to be given again, or runs would not end in the same bucket. The rules are kingfisher-archive's; see
    docs/archive.md, "What is archived".
    """
    if same_period:
        return _same_period(crawl, same_period)
    if earlier:
        return _earlier(crawl, earlier)
    return Decision(ARCHIVE, "new_period")


def _same_period(crawl: Facts, archive: Facts) -> Decision:
    reason = "same_period"
    if crawl.version > archive.version and crawl.bytes > archive.bytes:
        if _half_as_many_again(crawl.bytes, archive.bytes):
            reason = "same_period_more_bytes"
        elif _half_as_many_again(crawl.files, archive.files):
            reason = "same_period_more_files"
        elif crawl.errors < archive.errors:
            reason = "same_period_more_clean"
    return Decision(KEEP if reason == "same_period" else ARCHIVE, reason, archive.id)


def _half_as_many_again(new: int, old: int) -> bool:
    return new > old and 2 * new >= 3 * old


def _earlier(crawl: Facts, archive: Facts) -> Decision:
    year, month = archive.period
    if crawl.errors > archive.errors and crawl.files <= archive.files and crawl.bytes <= archive.bytes:
        return Decision(KEEP, f"{year}_{month}_not_distinct_maybe", archive.id)
    if crawl.data_bytes == archive.data_bytes and crawl.data_checksum() == archive.data_checksum():
        return Decision(KEEP, f"{year}_{month}_not_distinct", archive.id)
    return Decision(ARCHIVE, "new_period", archive.id)
