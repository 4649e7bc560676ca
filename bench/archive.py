"""
Archive a crawl of 500 MB in 1,000 files to SeaweedFS: us, kingfisher-archive's way, and tar | lz4 | rclone.

Ours is a whole run, from the listing of crawls, the reading of the log and the decision to the verification and the
deletion. The others are told what to send (bench/today.py says what they do). All make their own S3 client, and have
the crawl in the page cache. They take turns; what counts is the median of the rounds' ratios.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import crawls, today
from bench.measuring import Row, Took, call, main, say
from bench.ours import run
from bench.store import Place, Proxy, bucket, connect

SOURCE = "bench_source"
WHEN = datetime(2020, 9, 2, 5, 24, 58)  # noqa: DTZ001 - Kingfisher Collect's names have no zone
PREFIX = f"{SOURCE}/2020/09"
FILES, SIZE = 1000, 500_000


class Rounds:
    """Calls competitors, each with a fresh copy of the crawl and an empty bucket."""

    def __init__(self, root: Path, place: Place, files: int) -> None:
        self.root = root
        self.place = place
        crawls.write(root / "original", SOURCE, WHEN, files, SIZE)
        self.bytes = files * SIZE

    def ours(self, place: Place) -> Took:
        took = call(run, place=place.asdict(), root=str(self._copy()))
        if took.returned["failed"] or took.returned["archived"] != 1:
            raise SystemExit(f"not archived: {took.returned}")
        return took

    def today(self, place: Place) -> Took:
        crawl, log = self._files(self._copy())
        return call(today.archive, place=place.asdict(), crawl=crawl, log=log, prefix=PREFIX)

    def pipeline(self, place: Place) -> Took:
        return call(today.pipeline, place=place.asdict(), crawl=self._files(self._copy())[0], prefix=PREFIX)

    def compressed(self) -> int:
        """Return the size of data.tar.lz4 in the bucket."""
        return connect(self.place).head_object(Bucket=self.place.bucket, Key=f"{PREFIX}/data.tar.lz4")["ContentLength"]

    def empty(self) -> None:
        client = connect(self.place)
        for item in client.list_objects_v2(Bucket=self.place.bucket).get("Contents", []):
            client.delete_object(Bucket=self.place.bucket, Key=item["Key"])

    def _copy(self) -> Path:
        self.empty()
        root = self.root / "copy"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self.root / "original", root)
        return root

    def _files(self, root: Path) -> tuple[str, str]:
        return str(next((root / "data" / SOURCE).iterdir())), str(next((root / "logs" / SOURCE).iterdir()))


def measure(scale: float, rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as directory, bucket(Path(directory) / "store") as place:
        racing = Rounds(Path(directory), place, max(10, round(FILES * scale)))
        return [*_speed(racing, rounds), *_cost(racing)]


def _speed(racing: Rounds, rounds: int) -> list[Row]:
    seconds: dict[str, list[float]] = {"ours": [], "today": [], "pipeline": []}
    cpu = []
    for number in range(rounds):
        for name, times in seconds.items():
            took = getattr(racing, name)(racing.place)
            times.append(took.seconds)
            if name == "ours":
                cpu.append(took.cpu_seconds)
        say(f"round {number + 1}: " + ", ".join(f"{name} {times[-1]:.2f} s" for name, times in seconds.items()))
    say(f"ours: {statistics.median(cpu):.2f} s of processor time")
    ours = statistics.median(seconds["ours"])

    def row(name: str, what: str, reach: str) -> Row:
        ratios = sorted(them / us for them, us in zip(seconds[name], seconds["ours"], strict=True))
        return Row(
            f"crawl of {racing.bytes / 1e6:.0f} MB, against {what}",
            f"{statistics.median(seconds[name]):.2f} s",
            reach,
            f"{ours:.2f} s: {statistics.median(ratios):.2f} times as fast ({ratios[0]:.2f} to {ratios[-1]:.2f})",
        )

    return [
        row("today", "kingfisher-archive's way", "≥ 2 times as fast"),
        row("pipeline", "`tar c \\| lz4 -1 \\| rclone rcat`", "≥ as fast"),
    ]


def _cost(racing: Rounds) -> list[Row]:
    """
    Count bytes.

    Read and written are what read(2), write(2) and their like took and gave in the whole run, by /proc/self/io, with
    nothing taken off: our log is read twice, and our writes are the cache and the lock. Sockets take recv and send,
    which that does not count. Sent is counted by a TCP proxy, and has the log and all headers.
    """
    found: dict[str, Any] = {}
    for name in ("ours", "today"):
        with Proxy(racing.place) as proxy:
            took = getattr(racing, name)(proxy.place)
            found[name] = took, proxy.sent, racing.compressed()
    (ours, our_sent, our_size), (them, their_sent, their_size) = found["ours"], found["today"]
    return [
        Row(
            "bytes read from disk per data byte",
            f"{them.read / racing.bytes:.3f}",
            "≤ 1.05",
            f"{ours.read / racing.bytes:.3f}",
        ),
        Row(
            "bytes written to disk per compressed byte",
            f"{them.written / their_size:.3f}",
            "0, but for the cache",
            f"{ours.written / our_size:.3f} ({ours.written / 1e3:.0f} kB in all)",
        ),
        Row(
            "bytes sent per compressed byte",
            f"{their_sent / their_size:.3f}, and as many copied by the store",
            "≤ 1.05",
            f"{our_sent / our_size:.3f}",
        ),
    ]


if __name__ == "__main__":
    main(__doc__, measure)
