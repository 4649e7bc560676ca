"""
Dry runs over 10,000 crawls in 200 sources with 3,000 archived months, and over a quarter and a half of that.

A source has 50 crawls, two a month for 25 months, each of 5 files with a log of 20 items. The bucket has the first 15
months. So 30 crawls of a source are compared with the archive of their month, and 20 with those of earlier months.

The first dry run knows nothing. Since a dry run writes nothing, what the second one knows was recorded by a run with
limit=0, which archives nothing.
"""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import crawls
from bench.measuring import Row, Took, call, main, say
from bench.ours import run, run_counted
from bench.store import Place, bucket, connect

SOURCES, MONTHS, ARCHIVED = 200, 25, 15
FILES, SIZE, ITEMS = 5, 400, 20
TEMPLATE = "template"


def measure(scale: float, _rounds: int) -> list[Row]:
    rows = []
    done = 0
    with tempfile.TemporaryDirectory() as directory, bucket(Path(directory) / "store") as place:
        template = _template(Path(directory) / "template", place)
        for part in (0.25, 0.5, 1):
            sources = max(4, round(SOURCES * scale * part))
            for source in range(done, sources):
                _make(Path(directory), f"source_{source:03}", _times())
            _archive(place, range(done, sources), template)
            done = sources
            rows.append(_row(Path(directory), place, sources))
    return rows


def _row(root: Path, place: Place, sources: int) -> Row:
    def take(**more: Any) -> Took:
        return call(run_counted, place=place.asdict(), root=str(root), cache=f"cache-{sources}.sqlite", **more)

    first = take(dry_run=True)
    recording = take(limit=0)
    second = take(dry_run=True)
    keys = sources * ARCHIVED * 3
    for took in (first, recording, second):
        say(f"{sources} sources: {_cost(took)}")
        if took.returned["failed"] or took.returned["crawls"] != sources * MONTHS * 2:
            raise SystemExit("not decided")
        if took.returned["requests"].get("ListObjectsV2", 0) > keys // 1000 + 1:
            raise SystemExit("too many requests")
    if {k: first.returned[k] for k in ("archive", "keep")} != {k: second.returned[k] for k in ("archive", "keep")}:
        raise SystemExit("the second run decided otherwise")
    return Row(
        f"dry run over {sources * MONTHS * 2:,} crawls in {sources} sources, {sources * ARCHIVED:,} archives",
        "not possible",
        "say; linear",
        f"first {_cost(first)}; second {_cost(second)}",
    )


def _cost(took: Took) -> str:
    requests = took.returned["requests"]
    listed = requests.get("ListObjectsV2", 0)
    others = sum(requests.values()) - listed
    return (
        f"{took.seconds:.1f} s ({took.cpu_seconds:.1f} s of processor time), {took.peak:.0f} MB, "
        f"{listed} LIST and {others:,} other requests"
    )


def _times() -> list[datetime]:
    return [
        datetime(2020 + month // 12, month % 12 + 1, day, 5, 24, 58)  # noqa: DTZ001
        for month in range(MONTHS)
        for day in (5, 20)
    ]


def _make(root: Path, source: str, times: list[datetime]) -> None:
    data = b"x" * SIZE
    for when in times:
        crawl = root / "data" / source / f"{when:%Y%m%d_%H%M%S}"
        crawl.mkdir(parents=True)
        for number in range(FILES):
            (crawl / f"page-{number}.json").write_bytes(data)
        crawls.write_log(root, source, when, ITEMS)


def _template(root: Path, place: Place) -> dict[str, bytes]:
    """Archive a crawl of another source, and return its objects, to make archives like it."""
    when = _times()[0]
    _make(root, TEMPLATE, [when])
    took = call(run, place=place.asdict(), root=str(root))
    if took.returned["archived"] != 1:
        raise SystemExit(f"not archived: {took.returned}")
    client = connect(place)
    return {
        name: client.get_object(Bucket=place.bucket, Key=f"{TEMPLATE}/{when:%Y/%m}/{name}")["Body"].read()
        for name in ("data.tar.lz4", "scrapy.log", "metadata.json")
    }


def _archive(place: Place, sources: range, template: dict[str, bytes]) -> None:
    """Write what the bucket is to have. What a dry run reads of it is metadata.json."""
    client = connect(place)
    document = json.loads(template["metadata.json"])

    def put(source: str, when: datetime) -> None:
        version = f"{when:%Y%m%d_%H%M%S}"
        own = {**document, "id": f"{source}/{version}", "source_id": source, "data_version": version}
        for name, content in (*template.items(), ("metadata.json", json.dumps(own).encode())):
            client.put_object(Bucket=place.bucket, Key=f"{source}/{when:%Y/%m}/{name}", Body=content)

    months = [(f"source_{source:03}", when) for source in sources for when in _times()[: 2 * ARCHIVED : 2]]
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(lambda month: put(*month), months):
            pass


if __name__ == "__main__":
    main(__doc__, measure)
