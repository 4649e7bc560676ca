"""A Scrapyd in memory: for tests that need thousands of drains, killed at each point, and a clock of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kingfisher_salt.scrapyd.logs import End, LogStatus, read_end
from kingfisher_salt.scrapyd.processes import CrawlProcess

LINE = "2026-01-31 04:05:06 [scrapy.core.engine] INFO: "


class KilledError(BaseException):
    """Stands for kill -9: nobody may catch it."""


@dataclass
class Crawl:
    """A job that does one piece of work at each tick, and remembers how many it has done, as with a JOBDIR."""

    job: str
    spider: str = "slow"
    work: int = 1000
    priority: float = 0
    arguments: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    version: str | None = None
    done: int = 0
    signals: int = 0
    #: Whether it ends when it is asked to.
    heeds: bool = True
    log: bytes = b""
    ends: list[str] = field(default_factory=list)

    def open(self) -> None:
        self.signals = 0
        self.write("Spider opened")

    def write(self, text: str) -> None:
        self.log += f"{LINE}{text}\n".encode()


class MemoryScrapyd:
    """As much of a Client, and of Logs, as a drain uses."""

    def __init__(self, config: Any, slots: int = 2) -> None:
        self.config = config
        self.slots = slots
        self.now = 0.0
        self.crawls: dict[str, Crawl] = {}
        self.pending: list[Crawl] = []
        self.running: list[Crawl] = []
        self.finished: list[Crawl] = []
        #: Called before and after each request, with its name; may raise.
        self.around: Callable[[str], None] = lambda _name: None
        self.requests: list[str] = []

    # The world

    def add(self, crawl: Crawl) -> None:
        self.crawls[crawl.job] = crawl
        self.pending.append(crawl)

    def tick(self) -> None:
        for crawl in list(self.running):
            if crawl.signals and crawl.heeds:
                self._end(crawl, "shutdown")
                continue
            crawl.done += 1
            crawl.write(f"Crawled {crawl.done}")
            if crawl.done >= crawl.work:
                self._end(crawl, "finished")
        self.pending.sort(key=lambda crawl: -crawl.priority)
        while self.pending and len(self.running) < self.slots:
            crawl = self.pending.pop(0)
            self.running.append(crawl)
            crawl.open()

    def restart(self) -> None:
        """Kill what runs. What is pending is in a database, and stays. What has finished is forgotten."""
        self.running, self.finished = [], []

    def _end(self, crawl: Crawl, reason: str) -> None:
        self.running.remove(crawl)
        self.finished.insert(0, crawl)
        crawl.write(f"Spider closed ({reason})")
        crawl.ends.append(reason)

    # The clock

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.tick()

    # Processes

    def processes(self) -> dict[str, CrawlProcess]:
        return {
            c.job: CrawlProcess(
                1,
                c.job,
                c.spider,
                "p",
                c.version,
                c.arguments,
                {**c.settings, "JOBDIR": f"p/{c.spider}/{c.job}"},
                False,
            )
            for c in self.running
        }

    # Client

    def _request(self, name: str) -> Any:
        self.requests.append(name)
        self.now += 0.01
        self.around(f"before {name}")

    def daemon_status(self) -> dict[str, Any]:
        self._request("daemonstatus")
        return {"pending": len(self.pending), "running": len(self.running), "finished": len(self.finished)}

    def list_jobs(self) -> dict[str, Any]:
        self._request("listjobs")
        listing: dict[str, Any] = {
            "pending": [
                {
                    "id": c.job,
                    "project": "p",
                    "spider": c.spider,
                    "version": c.version,
                    "settings": c.settings,
                    "args": c.arguments,
                }
                for c in self.pending
            ]
        }
        for state in ("running", "finished"):
            listing[state] = [{"id": c.job, "project": "p", "spider": c.spider} for c in getattr(self, state)]
        self.tick()  # as time goes by between this and what is done about it
        return listing

    def job_state(self, job: str) -> str | None:
        self._request("status")
        for state in ("running", "pending", "finished"):
            if any(crawl.job == job for crawl in getattr(self, state)):
                return state
        return None

    def cancel(self, _project: str, job: str, signal: str = "INT") -> str | None:
        self._request("cancel")
        before = None
        for crawl in [c for c in self.pending if c.job == job]:
            self.pending.remove(crawl)
            before = "pending"
        for crawl in [c for c in self.running if c.job == job]:
            crawl.signals += 1
            if signal == "KILL":
                self.running.remove(crawl)
                self.finished.insert(0, crawl)
            else:
                crawl.write("Received SIGINT, shutting down gracefully. Send again to force")
            before = "running"
        self.around("after cancel")
        return before

    def schedule(
        self,
        _project: str,
        spider: str,
        job: str,
        *,
        arguments: Mapping[str, str],
        settings: Mapping[str, str],
        version: str | None,
        priority: float | None,
    ) -> None:
        self._request("schedule")
        crawl = self.crawls[job]
        assert (crawl.spider, crawl.arguments, crawl.settings, crawl.version) == (spider, arguments, settings, version)
        crawl.priority = priority or 0
        self.pending.append(crawl)
        self.around("after schedule")
        self.tick()

    # Logs

    def status(self, _project: str, _spider: str, job: str) -> LogStatus | None:
        crawl = self.crawls[job]
        return LogStatus(len(crawl.log), 0) if crawl.log else None

    def end(self, _project: str, _spider: str, job: str, *, since: int = 0) -> End:
        return read_end(self.crawls[job].log[since:])

    def head(self, _project: str, _spider: str, job: str, length: int) -> bytes:
        return self.crawls[job].log[:length]
