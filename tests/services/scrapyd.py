"""Scrapyd, from an environment of its own."""

from __future__ import annotations

import io
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from tests.services.ports import free_port
from tests.services.process import Process

if TYPE_CHECKING:
    from typing_extensions import Self

ROOT = Path(__file__).parents[2]
CONFIGURATION = """\
[scrapyd]
bind_address = 127.0.0.1
http_port = {port}
poll_interval = 0.2
max_proc = 4
jobs_to_keep = 1000
finished_to_keep = 1000
eggs_dir = {directory}/eggs
logs_dir = {directory}/logs
dbs_dir = {directory}/dbs
"""


class ScrapydError(RuntimeError):
    """What Scrapyd answered, if its status is not ok."""


class Scrapyd:
    """A server without projects, until ``deploy``."""

    def __init__(self, directory: Path, venv: Path = ROOT / ".venv-scrapyd"):
        self.directory = directory
        self.port = free_port()
        self._process = Process([venv / "bin" / "scrapyd"], directory / "scrapyd.log", cwd=directory)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def logs_directory(self, project: str) -> Path:
        return self.directory / "logs" / project

    def deploy(self, project: str, directory: Path, version: str = "1") -> list[str]:
        """Upload the Scrapy project in a directory, and return its spiders."""
        self._post("addversion", {"project": project, "version": version}, files={"egg": build_egg(directory)})
        return self.spiders(project)

    def spiders(self, project: str) -> list[str]:
        return self._get("listspiders", project=project)["spiders"]

    def schedule(self, project: str, spider: str, settings: dict[str, str], **arguments: str) -> str:
        """Schedule a crawl, and return its job."""
        setting = [f"{key}={value}" for key, value in settings.items()]
        return self._post("schedule", {"project": project, "spider": spider, "setting": setting, **arguments})["jobid"]

    def wait(self, project: str, *, timeout: float = 120) -> None:
        """Return once no crawl is pending or running."""
        deadline = time.monotonic() + timeout
        while True:
            jobs = self._get("listjobs", project=project)
            left = [job["id"] for state in ("pending", "running") for job in jobs[state]]
            if not left:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(left)} crawls have not ended after {timeout} s: {', '.join(left)}")
            time.sleep(0.2)

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        configuration = CONFIGURATION.format(port=self.port, directory=self.directory)
        (self.directory / "scrapyd.conf").write_text(configuration)  # which Scrapyd reads from where it starts
        self._process.start(lambda: self._get("daemonstatus"))

    def stop(self) -> None:
        self._process.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _get(self, service: str, **parameters: str) -> dict[str, Any]:
        return _answer(requests.get(f"{self.url}/{service}.json", params=parameters, timeout=30))

    def _post(self, service: str, data: dict[str, Any], **options: Any) -> dict[str, Any]:
        return _answer(requests.post(f"{self.url}/{service}.json", data=data, timeout=30, **options))


def build_egg(directory: Path) -> bytes:
    """Return a Scrapy project as an egg: a ZIP file of its package, that says where its settings are."""
    package = next(path.parent.name for path in directory.glob("*/settings.py"))
    egg = io.BytesIO()
    with zipfile.ZipFile(egg, "w") as archive:
        for path in sorted(directory.rglob("*.py")):
            archive.write(path, path.relative_to(directory))
        archive.writestr("EGG-INFO/PKG-INFO", f"Metadata-Version: 1.0\nName: {package}\nVersion: 1\n")
        archive.writestr("EGG-INFO/entry_points.txt", f"[scrapy]\nsettings = {package}.settings\n")
    return egg.getvalue()


def _answer(response: requests.Response) -> dict[str, Any]:
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    if answer["status"] != "ok":
        raise ScrapydError(answer.get("message", answer))
    return answer
