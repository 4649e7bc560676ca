"""A Scrapyd of a test's own, with the project in tests/spiders, and a minion that looks after it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.functional.conftest import Minion
from tests.services.process import Process
from tests.services.scrapyd import Scrapyd

PROJECT = "kingfisher"
PROJECT_DIRECTORY = Path(__file__).parents[1] / "spiders"
SPIDERS = ["failing", "quick", "silent", "slow", "stubborn"]


class Server(Scrapyd):
    """Scrapyd with options, that can be restarted, with or without its crawls."""

    def __init__(self, directory: Path, **options: Any):
        super().__init__(directory)
        self._options = options
        self._argv = self._process.argv[self._process.argv.index("--") + 1 :]

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        options = {
            "bind_address": "127.0.0.1",
            "http_port": self.port,
            "poll_interval": 0.1,
            "max_proc": 3,
            "jobs_to_keep": 1000,
            "finished_to_keep": 1000,
            **{f"{name}_dir": self.directory / name for name in ("eggs", "logs", "dbs", "jobs")},
            **self._options,
        }
        lines = [f"{key} = {value}" for key, value in options.items() if value is not None]
        (self.directory / "scrapyd.conf").write_text("\n".join(["[scrapyd]", *lines]))
        self._process = Process(self._argv, self.directory / "scrapyd.log", cwd=self.directory)
        self._process.start(self.answers)

    def answers(self) -> Any:
        return self._get("daemonstatus")

    def restart(self) -> None:
        """Restart it as systemd does: with all crawls that still run."""
        self.stop()
        self.start()

    def listing(self) -> dict[str, list[dict[str, Any]]]:
        found = self._get("listjobs")
        return {state: found[state] for state in ("pending", "running", "finished")}

    def ids(self, state: str) -> list[str]:
        return [job["id"] for job in self.listing()[state]]

    def active(self) -> int:
        """Return how many crawls wait or run."""
        listing = self.listing()
        return len(listing["pending"]) + len(listing["running"])

    def log(self, spider: str, job: str) -> Path:
        return self.directory / "logs" / PROJECT / spider / f"{job}.log"

    def begin(self, spider: str, *, state: str = "working", **arguments: str) -> str:
        """Schedule a crawl behind the module's back, and return once it is in a state: working has read a page."""
        job = self.schedule(PROJECT, spider, {}, **arguments)
        if state == "working":
            log = self.log(spider, job)
            wait_for(lambda: log.exists() and "Crawled (200)" in log.read_text())
        elif state:
            wait_for(lambda: job in self.ids(state))
        return job


class Host:
    """A minion whose pillar names a server."""

    def __init__(self, root: Path, minion: Minion, server: Server):
        self.root, self.minion, self.server = root, minion, server
        self.drain_file = root / "state" / "drain.json"
        self.pillar: dict[str, Any] = {
            "url": server.url,
            "project": PROJECT,
            "timeout": 60,
            "poll_interval": 1,
            "logs_directory": str(server.directory / "logs"),
            "databases_directory": str(server.directory / "dbs"),
            "drain_file": str(self.drain_file),
            "scheduled_file": str(root / "state" / "scheduled.json"),
            "disk_free_percent": 0,
        }
        self.configure()

    def configure(self, **settings: Any) -> None:
        """Change settings in pillar. None removes one."""
        self.pillar.update(settings)
        self.minion.set_pillar({"scrapyd": {k: v for k, v in self.pillar.items() if v is not None}})

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        return self.minion.call(f"scrapyd.{function}", *args, **kwargs)

    def state(self, function: str, *, test: bool = False, **kwargs: Any) -> Any:
        return self.minion.state(f"scrapyd.{function}", test=test, **kwargs)


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("it did not become true")
        time.sleep(0.05)
