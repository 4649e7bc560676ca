"""Real crawls by Scrapyd, made to look as old as they say they are."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demo.publisher import Publisher
    from tests.services.scrapyd import Scrapyd

PROJECT = "kingfisher"
PROJECT_DIRECTORY = Path(__file__).parent / "collect"

# Spider, start time, other spider arguments, whether Kingfisher Process has loaded it.
CRAWLS: tuple[tuple[str, str, dict[str, str], bool], ...] = (
    ("ruritania", "2025-11-03T04:05:06", {}, True),
    ("ruritania", "2025-12-01T04:05:06", {}, True),
    ("ruritania", "2025-12-15T04:05:06", {"note": "the same as two weeks before"}, True),
    ("ruritania", "2026-01-05T04:05:06", {"note": "nothing new since December"}, True),
    ("ruritania", "2026-02-02T04:05:06", {"from_date": "2026-01-15"}, True),
    ("ruritania", "2026-02-03T04:05:06", {"sample": "1"}, False),
    ("syldavia", "2025-12-02T04:05:06", {}, True),
    ("syldavia", "2026-01-06T04:05:06", {}, True),
    ("syldavia", "2026-02-04T04:05:06", {"note": "not loaded"}, False),
    ("borduria", "2025-12-03T04:05:06", {}, True),
    ("freedonia", "2025-12-04T04:05:06", {}, True),
)


def make_crawls(directory: Path, scrapyd: Scrapyd, publisher: Publisher) -> tuple[Path, Path]:
    """Run the crawls, and return the data directory and the logs directory."""
    data, logs = directory / "data", scrapyd.logs_directory(PROJECT)
    scrapyd.deploy(PROJECT, PROJECT_DIRECTORY)
    settings = {"FILES_STORE": str(data), "PUBLISHER_URL": publisher.url}
    started = {
        scrapyd.schedule(PROJECT, spider, settings, crawl_time=time, **arguments): datetime.fromisoformat(time)
        for spider, time, arguments, _ in CRAWLS
    }
    scrapyd.wait(PROJECT)
    for note in data.glob("*/*/scrapyd-job.txt"):
        job = note.read_text()
        age(note.parent, started[job])
        age(logs / note.parts[-3].removesuffix("_sample") / f"{job}.log", started[job])
    return data, logs


def age(path: Path, started: datetime) -> None:
    """Let a crawl's file, or directory with all in it, be last changed a minute after the crawl started."""
    time = (started + timedelta(minutes=1)).timestamp()
    for found in [*path.rglob("*"), path]:
        os.utime(found, (time, time))
