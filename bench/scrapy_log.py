"""
Measure reading a crawl's log of 144 MB and 400,000 items, half in the old format (a key a line), half in the new.

    python bench/scrapy_log.py [--items 400000] [--megabytes 144]

"Today" is a stand-in for scrapy-log-analyzer as kingfisher-archive uses it: the whole text through the logparser
package (if it is installed: ``pip install logparser``; otherwise only the text is read, which flatters it), then
``ast.literal_eval`` of each dict, line by line. Each is measured in a process of its own: wall time, and the peak of
the resident memory, both of which include the start of Python.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
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
    sys.path.insert(0, str(ROOT / "_utils"))
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


def measure(name: str, path: Path) -> tuple[int, float, float]:
    """Return the number of files, seconds and peak MB of a process that calls the function of that name."""
    process = subprocess.run(
        [sys.executable, __file__, "--run", name, str(path)], check=True, stdout=subprocess.PIPE, text=True
    )
    files, seconds, megabytes = process.stdout.split()
    return int(files), float(seconds), float(megabytes)


def main() -> None:
    """Print a row of a Markdown table: what, today, ours, ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=400_000)
    parser.add_argument("--megabytes", type=int, default=144)
    parser.add_argument("--run", nargs=2, metavar=("FUNCTION", "PATH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()

    if arguments.run:
        name, path = arguments.run
        began = time.perf_counter()
        files = {"ours": ours, "today": today}[name](path)
        seconds = time.perf_counter() - began
        print(files, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return

    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "bench.log"
        write(log, arguments.items, arguments.megabytes * 10**6)
        size = log.stat().st_size / 10**6
        # Ours first, so that a cold cache is at our expense.
        our_files, our_seconds, our_memory = measure("ours", log)
        files, seconds, memory = measure("today", log)
        if not our_files == files == arguments.items:
            raise SystemExit(f"wrong counts: ours {our_files}, today {files}")
    print(
        f"| log of {size:.0f} MB, {files:,} items | {seconds:.1f} s, {memory:.0f} MB "
        f"| {our_seconds:.2f} s, {our_memory:.0f} MB "
        f"| {seconds / our_seconds:.0f} times as fast, {memory / our_memory:.0f} times less memory |"
    )


if __name__ == "__main__":
    main()
