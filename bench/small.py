"""Archive 500 crawls of 20 kB, in 50 sources: seconds and requests a crawl, by the number of workers."""

from __future__ import annotations

import shutil
import tempfile
from datetime import datetime
from pathlib import Path

from bench import crawls
from bench.measuring import Row, call, main, say
from bench.ours import run_counted
from bench.store import bucket

SOURCES, MONTHS = 50, 10


def measure(scale: float, _rounds: int) -> list[Row]:
    sources = max(2, round(SOURCES * scale))
    found = []
    with tempfile.TemporaryDirectory() as directory, bucket(Path(directory) / "store") as place:
        for workers in (1, 2, 4):
            root = Path(directory) / "crawls"
            for source in range(sources):
                for month in range(MONTHS):
                    # Each month has more than the one before, or it would not be archived.
                    when = datetime(2020, month + 1, 5, 5, 24, 58)  # noqa: DTZ001
                    crawls.write(root, f"source_{workers}_{source:03}", when, 5, 4000 + month, variants=1)
            took = call(run_counted, place=place.asdict(), root=str(root), workers=workers)
            count = took.returned["archived"]
            if took.returned["failed"] or count != sources * MONTHS:
                raise SystemExit(f"not archived: {took.returned}")
            requests = sum(took.returned["requests"].values())
            say(f"{workers} workers: {took.seconds:.1f} s, {took.cpu_seconds:.1f} s of processor time")
            say(str(took.returned["requests"]))
            found.append(f"{workers} workers: {took.seconds / count * 1000:.0f} ms, {requests / count:.1f} requests")
            shutil.rmtree(root)
    return [Row(f"{sources * MONTHS} crawls of 20 kB, each", "not measured", "say", "; ".join(found))]


if __name__ == "__main__":
    main(__doc__, measure)
