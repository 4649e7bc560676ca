"""Crawls to measure with: always the same, and as compressible as procurement data is, about 5:1 by LZ4."""

from __future__ import annotations

import functools
import json
import random
from datetime import datetime
from pathlib import Path

LETTERS = "abcdefghijklmnopqrstuvwxyz"
ITEM = (
    "2020-09-02 05:25:00 [scrapy.core.engine] DEBUG: Crawled (200) <GET https://example.com/releases?page={n}> "
    "(referer: None)\n"
    "2020-09-02 05:25:00 [scrapy.core.scraper] DEBUG: Scraped from <200 https://example.com/releases?page={n}>\n"
    "{{'file_name': '{n}.json', 'url': 'https://example.com/releases?page={n}', 'data_type': 'release_package'}}\n"
)


@functools.cache
def _releases() -> list[bytes]:
    """Return 20 MB of releases. Those of a file are all different, and LZ4 sees no further than 64 KB."""
    chance = random.Random(5)
    words = ["".join(chance.choices(LETTERS, k=chance.randint(3, 10))) for _ in range(2000)]
    return [json.dumps(_release(chance, words), indent=2).encode() + b",\n" for _ in range(6000)]


def _release(chance: random.Random, words: list[str]) -> object:
    def identifier() -> str:
        return f"{chance.randrange(10**9):09}"

    def text(count: int) -> str:
        return " ".join(chance.choices(words, k=count))

    def organization(role: str) -> object:
        return {
            "id": f"XX-ORG-{identifier()}",
            "name": text(3),
            "identifier": {"scheme": "XX-ORG", "id": identifier(), "uri": f"https://example.com/org/{identifier()}"},
            "address": {"streetAddress": text(2), "locality": text(1), "region": "Region", "countryName": "Country"},
            "roles": [role],
        }

    def item(number: int) -> object:
        return {
            "id": str(number),
            "description": text(4),
            "classification": {"scheme": "CPV", "id": identifier()[:8], "description": text(2)},
            "quantity": chance.randint(1, 500),
            "unit": {"name": "Unit", "value": {"amount": chance.randint(10, 10**6), "currency": "USD"}},
        }

    buyer = organization("buyer")
    day = f"2020-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}T00:00:00Z"
    return {
        "ocid": f"ocds-213czf-{identifier()}",
        "id": identifier(),
        "date": day,
        "language": "en",
        "tag": ["planning", "tender", "award", "contract"],
        "initiationType": "tender",
        "buyer": buyer,
        "parties": [buyer, organization("supplier")],
        "tender": {
            "id": identifier(),
            "title": text(6),
            "description": text(6),
            "status": "complete",
            "value": {"amount": chance.randint(1000, 10**7), "currency": "USD"},
            "procurementMethod": "open",
            "procuringEntity": buyer,
            "tenderPeriod": {"startDate": day, "endDate": day},
            "items": [item(n) for n in range(6)],
        },
    }


def content(seed: int, size: int) -> bytes:
    """Return a release package of about this size, the same for the same seed, and none like another."""
    chance = random.Random(seed)
    releases = _releases()
    pieces = [b'{"version": "1.1", "releases": [\n']
    total = 0
    while total < size:
        piece = releases[chance.randrange(len(releases))]
        pieces.append(piece[: size - total])
        total += len(pieces[-1])
    return b"".join(pieces)


def write(root: Path, source: str, when: datetime, files: int, size: int, *, variants: int | None = None) -> Path:
    """
    Write a crawl of files of a size, and its log, below a directory, as Kingfisher Collect does.

    :param variants: how many contents there are, if not one a file
    :returns: the crawl directory
    """
    crawl = root / "data" / source / f"{when:%Y%m%d_%H%M%S}"
    crawl.mkdir(parents=True)
    contents = [content(seed, size) for seed in range(variants or 0)]
    for n in range(files):
        (crawl / f"page-{n}.json").write_bytes(contents[n % len(contents)] if contents else content(n, size))
    write_log(root, source, when, files)
    return crawl


def write_log(root: Path, source: str, when: datetime, items: int) -> None:
    """Write the log of a crawl that finished, was complete, and had no errors."""
    logs = root / "logs" / source
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / f"job{when:%Y%m%d%H%M%S}.log").open("w") as file:
        file.write(
            f"{when:%Y-%m-%d %H:%M:%S} [scrapy.utils.log] INFO: Scrapy 2.11.0 started (bot: kingfisher_scrapy)\n"
            f"{when:%Y-%m-%d %H:%M:%S} [{source}] INFO: Spider arguments: {{'sample': None, 'crawl_time': None}}\n"
            f"{when:%Y-%m-%d %H:%M:%S} [scrapy.core.engine] INFO: Spider opened\n"
        )
        file.writelines(ITEM.format(n=n) for n in range(items))
        file.write(
            f"{when:%Y-%m-%d} 23:59:59 [scrapy.statscollectors] INFO: Dumping Scrapy stats:\n"
            f"{{'finish_reason': 'finished',\n 'start_time': {when!r}}}\n"
            f"{when:%Y-%m-%d} 23:59:59 [scrapy.core.engine] INFO: Spider closed (finished)\n"
        )
