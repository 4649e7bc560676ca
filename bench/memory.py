"""
Peak memory of a whole run, boto3 included: one crawl of 50 MB, one of 5 GB, and four large ones at once.

The crawl of 5 GB is one file of 2.5 GB, and 25,000 of 100 kB.
"""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import crawls
from bench.measuring import Row, call, main, say
from bench.ours import run
from bench.store import Place, bucket

WHEN = datetime(2020, 9, 2, 5, 24, 58)  # noqa: DTZ001 - Kingfisher Collect's names have no zone
PIECE = 100_000


def measure(scale: float, _rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as directory, bucket(Path(directory) / "store") as place:
        peaks = {
            "50 MB": _small(Path(directory) / "small", place, scale),
            "5 GB": _large(Path(directory) / "large", place, scale),
            "4 of 500 MB, 4 workers": _four(Path(directory) / "four", place, scale),
        }
    shown = ", ".join(f"{what}: {peak:.0f} MB" for what, peak in peaks.items())
    by = "" if scale == 1 else f", at {scale:g} of the size"
    return [Row(f"peak memory, by crawl{by}", "grows with the log", "each under 200 MB", shown)]


def _peak(root: Path, place: Place, **more: Any) -> float:
    took = call(run, place=place.asdict(), root=str(root), **more)
    if took.returned["failed"] or not took.returned["archived"]:
        raise SystemExit(f"not archived: {took.returned}")
    size = took.returned["bytes"]
    say(f"{size / 1e6:.0f} MB in {took.seconds:.1f} s ({size / took.seconds / 1e6:.0f} MB/s), peak {took.peak:.0f} MB")
    return took.peak


def _small(root: Path, place: Place, scale: float) -> float:
    crawls.write(root, "small", WHEN, 100, round(500_000 * scale))
    return _peak(root, place)


def _large(root: Path, place: Place, scale: float) -> float:
    crawl = crawls.write(root, "large", WHEN, round(25_000 * scale), PIECE, variants=100)
    pieces = [crawls.content(seed, PIECE) for seed in range(100)]
    with (crawl / "large.json").open("wb") as file:
        file.writelines(pieces[n % len(pieces)] for n in range(round(25_000 * scale)))
    return _peak(root, place)


def _four(root: Path, place: Place, scale: float) -> float:
    for name in ("one", "two", "three", "four"):
        crawls.write(root, name, WHEN, round(5000 * scale), PIECE, variants=100)
    return _peak(root, place, workers=4)


if __name__ == "__main__":
    main(__doc__, measure)
