"""The crawls that run on this host, as the system knows them: Scrapyd does not tell a running job's arguments."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class CrawlProcess:
    """A process that Scrapyd started: ``python -m scrapyd.runner crawl SPIDER -s KEY=VALUE … -a KEY=VALUE …``."""

    pid: int
    job: str
    spider: str
    #: None if this user cannot read its environment.
    project: str | None
    version: str | None
    arguments: Mapping[str, str]
    settings: Mapping[str, str]
    #: Whether the Scrapyd that started it is gone, so that no Scrapyd knows it.
    orphaned: bool


def crawl_processes(proc: Path = PROC) -> dict[str, CrawlProcess]:
    """Return the crawls that run on this host, by job. Of processes that a crawl forked, the crawl itself."""
    found: dict[str, CrawlProcess] = {}
    for directory in proc.glob("[1-9]*"):
        if process := _read(directory, proc):
            other = found.get(process.job)
            if other is None or process.pid < other.pid:
                found[process.job] = process
    return found


def parse(argv: list[str]) -> tuple[str, dict[str, str], dict[str, str]] | None:
    """Return a crawl's spider, arguments and settings, as Scrapyd's ``get_crawl_args`` writes them, or None."""
    try:
        begin = argv.index("crawl")
    except ValueError:
        return None
    if "-m" not in argv[:begin] or begin + 1 >= len(argv):
        return None
    pairs: dict[str, dict[str, str]] = {"-a": {}, "-s": {}}
    rest = argv[begin + 2 :]
    for option, pair in zip(rest[::2], rest[1::2], strict=False):
        if option not in pairs:
            return None
        key, _, value = pair.partition("=")
        pairs[option][key] = value
    return argv[begin + 1], pairs["-a"], pairs["-s"]


def own_settings(settings: Mapping[str, str], project: str, spider: str, job: str) -> dict[str, str]:
    """Return the settings that a crawl was scheduled with, without those that Scrapyd adds when it starts it."""
    place = f"{project}/{spider}/{job}"
    added = {"LOG_FILE": f"{place}.log", "JOBDIR": place}
    return {
        key: value
        for key, value in settings.items()
        if not (key in added and value.endswith(added[key])) and not (key == "FEEDS" and f"{place}.jl" in value)
    }


def _read(directory: Path, proc: Path) -> CrawlProcess | None:
    parsed = parse(_strings(directory / "cmdline"))
    if not parsed:
        return None
    spider, arguments, settings = parsed
    job, version = arguments.pop("_job", None), arguments.pop("_version", None)
    if not job:
        return None
    environment = dict(text.partition("=")[::2] for text in _strings(directory / "environ"))
    return CrawlProcess(
        pid=int(directory.name),
        job=job,
        spider=spider,
        project=environment.get("SCRAPY_PROJECT"),
        version=version,
        arguments=arguments,
        settings=settings,
        orphaned=not any("scrapyd" in text for text in _strings(proc / _parent(directory) / "cmdline")),
    )


def _strings(path: Path) -> list[str]:
    try:
        return os.fsdecode(path.read_bytes()).split("\0")[:-1]
    except OSError:
        return []


def _parent(directory: Path) -> str:
    try:
        # The name of the program, in brackets, may have anything in it.
        return (directory / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
    except (OSError, IndexError):
        return "0"
