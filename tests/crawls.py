"""Crawls on disk, in the directory and log layout of Kingfisher Collect, made without running a spider."""

from __future__ import annotations

import hashlib
import os
import random
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

DAY = 86_400


@dataclass(frozen=True)
class MadeCrawl:
    """A crawl that was made: its id in the archive, its directory and its log, if it has one."""

    id: str
    directory: Path
    log: Path | None


def make_crawl(
    root: Path,
    source: str,
    version: str,
    *,
    files: int = 3,
    size: int = 200,
    errors: int = 0,
    finish_reason: str | None = "finished",
    arguments: Mapping[str, str] | None = None,
    age_days: float = 30,
    content: str | None = None,
    job_file: bool = False,
    log: bool = True,
) -> MadeCrawl:
    """
    Write ``ROOT/data/SOURCE/VERSION/HHH/FILE`` and ``ROOT/logs/SOURCE/JOB.log``. The same call writes the same bytes.

    :param version: like ``20240501_040506``
    :param size: bytes of each file
    :param errors: how many retrieval errors the log has
    :param finish_reason: why the crawl ended, or None if its log ends in the middle
    :param arguments: spider arguments, like ``{"from_date": "2024-01-01"}``
    :param age_days: for how many days nothing was written
    :param content: two crawls with the same text have the same data; by default, no two have
    :param job_file: whether the crawl directory says the job's id, as ``scrapyd-job.txt``
    :param log: whether there is a log
    """
    crawl_id = f"{source}/{version}"
    job = hashlib.md5(crawl_id.encode(), usedforsecurity=False).hexdigest()
    directory = root / "data" / source / version
    directory.mkdir(parents=True)
    (root / "logs").mkdir(exist_ok=True)
    names = [f"page-{number:03d}.json" for number in range(1, files + 1)]
    for name in names:
        path = directory / f"{zlib.adler32(name.encode()) % 0x1000:03X}" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(random.Random(f"{content or crawl_id} {name}").randbytes(size))
    if job_file:
        (directory / "scrapyd-job.txt").write_text(job)
    log_path = root / "logs" / source / f"{job}.log" if log else None
    if log_path:
        log_path.parent.mkdir(exist_ok=True)
        started = datetime.strptime(version, "%Y%m%d_%H%M%S")  # noqa: DTZ007 - Kingfisher Collect's names have no zone
        log_path.write_text(_log(source, started, job, names, errors, finish_reason, arguments or {}))
    for path in (directory, log_path):
        if path:
            age(path, age_days)
    return MadeCrawl(crawl_id, directory, log_path)


def age(path: Path, days: float) -> None:
    """Let a file, or a directory with all in it, be last written so many days ago."""
    then = time.time() - days * DAY
    for found in [*path.rglob("*"), path]:
        os.utime(found, (then, then))


def _log(
    source: str,
    started: datetime,
    job: str,
    names: list[str],
    errors: int,
    finish_reason: str | None,
    arguments: Mapping[str, str],
) -> str:
    """Return a log as Scrapy 2 and Kingfisher Collect since 2025 write it."""
    when = started.strftime("%Y-%m-%d %H:%M:%S")
    url = f"https://publisher.example/{source}"
    given = {"sample": None, "crawl_time": started.isoformat(), "_job": job, **arguments}
    lines = [
        f"{when} [scrapy.utils.log] INFO: Scrapy 2.19.0 started (bot: kingfisher_scrapy)",
        f"{when} [{source}] INFO: Spider arguments: {given!r}",
        f"{when} [scrapy.core.engine] INFO: Spider opened",
    ]
    for name in names:
        item = {"file_name": name, "url": f"{url}/{name}", "data_type": "release_package"}
        lines += [f"{when} [scrapy.core.scraper] DEBUG: Scraped from <200 {url}/{name}>", repr(item)]
    lines += [
        f"{when} [{source}] ERROR: status=503 message='' request=<GET {url}/{number}> file_name=error-{number}.json"
        for number in range(errors)
    ]
    if finish_reason is not None:
        lines += [
            f"{when} [scrapy.core.engine] INFO: Closing spider ({finish_reason})",
            f"{when} [scrapy.statscollectors] INFO: Dumping Scrapy stats:",
            f"{{'finish_reason': {finish_reason!r},",
            f" 'item_scraped_count': {len(names)},",
            f" 'start_time': {started!r}}}",
            f"{when} [scrapy.core.engine] INFO: Spider closed ({finish_reason})",
        ]
    return "\n".join(lines) + "\n"
