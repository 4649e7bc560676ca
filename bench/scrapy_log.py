"""
Measure reading a crawl's log of 144 MB and 400,000 items, half in the old format (a key a line), half in the new.

"Today" is a stand-in for scrapy-log-analyzer as kingfisher-archive uses it: the whole text through the logparser
package (if it is installed: ``pip install logparser``; otherwise only the text is read, which flatters it), then
``ast.literal_eval`` of each dict, line by line. Each is measured in a process of its own: wall time, and the peak of
the resident memory, both of which include the import of the library.
"""

from __future__ import annotations

import ast
import contextlib
import sys
import tempfile
from pathlib import Path

from bench.measuring import Row, call, main

ITEMS, SIZE = 400_000, 144_000_000
BEGIN = (
    "2020-09-02 05:24:58 [scrapy.utils.log] INFO: Scrapy 1.8.0 started (bot: bench)\n"
    "2020-09-02 05:24:58 [bench] INFO: Spider arguments: {'sample': None, 'from_date': None, 'crawl_time': None}\n"
    "2020-09-02 05:24:58 [scrapy.core.engine] INFO: Spider opened\n"
)
END = (
    "2020-09-03 05:24:58 [scrapy.statscollectors] INFO: Dumping Scrapy stats:\n"
    "{'finish_reason': 'finished',\n"
    " 'start_time': datetime.datetime(2020, 9, 2, 5, 24, 58, 827363)}\n"
    "2020-09-03 05:24:58 [scrapy.core.engine] INFO: Spider closed (finished)\n"
)
OLD = (
    "{{'data_type': 'release_package',\n 'encoding': 'utf-8',\n 'file_name': 'page-{n}.json',\n 'post_to_api': True,\n"
    " 'url': '{url}'}}\n"
)
NEW = "{{'file_name': 'page-{n}.json', 'url': '{url}', 'data_type': 'release_package'}}\n"


def write(path: Path, items: int, size: int) -> None:
    """Write a log of this many items, and of about this many bytes: the URLs are made as long as that takes."""
    lengths = [len(_item(n, items, 0)) for n in (items // 2 - 1, items - 1)]
    padding = max(0, round((size / items - sum(lengths) / 2) / 3))
    with path.open("w") as f:
        f.write(BEGIN)
        f.writelines(_item(n, items, padding) for n in range(items))
        f.write(END)


def _item(n: int, items: int, padding: int) -> str:
    url = f"https://example.com/v1?page={n}{'x' * padding}"
    return (
        f"2020-09-02 05:25:00 [scrapy.core.engine] DEBUG: Crawled (200) <GET {url}> (referer: None)\n"
        f"2020-09-02 05:25:00 [scrapy.core.scraper] DEBUG: Scraped from <200 {url}>\n"
    ) + (OLD if n < items // 2 else NEW).format(n=n, url=url)


def ours(path: str) -> int:
    """Return the number of files, by read_log."""
    from kingfisher_salt.scrapy_log import read_log

    return read_log(path).files


def today(path: str) -> int:
    """Return the number of files, by logparser and ast, in the way of scrapy-log-analyzer."""
    text = Path(path).read_text()
    try:
        from logparser import parse
    except ImportError:
        print("logparser is not installed: today() is without it", file=sys.stderr)
    else:
        parse(text, headlines=0, taillines=1)
    files = 0
    lines: list[str] = []
    with Path(path).open() as f:
        for line in f:
            if lines or line.startswith("{"):
                lines.append(line.rstrip())
            if lines and lines[-1].endswith("}"):
                with contextlib.suppress(ValueError):  # the statistics
                    files += "data_type" in ast.literal_eval("".join(lines))
                lines = []
    return files


def measure(scale: float, _rounds: int) -> list[Row]:
    items = round(ITEMS * scale)
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "bench.log"
        write(log, items, round(SIZE * scale))
        size = log.stat().st_size
        # Ours first, so that a cold cache is at our expense.
        us = call(ours, path=str(log))
        them = call(today, path=str(log))
    if not us.returned == them.returned == items:
        raise SystemExit(f"wrong counts: ours {us.returned}, today {them.returned}")
    return [
        Row(
            f"log of {size / 1e6:.0f} MB, {items:,} items",
            f"{them.seconds:.1f} s, {them.peak:.0f} MB",
            "< 1.5 s, < 80 MB",
            f"{us.seconds:.2f} s ({us.cpu_seconds:.2f} s of processor time), {us.peak:.0f} MB",
        )
    ]


if __name__ == "__main__":
    main(__doc__, measure)
