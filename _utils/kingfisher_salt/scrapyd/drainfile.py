"""What a drain remembers: the crawls that are to be scheduled again, in a file that survives a kill at any moment."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import KingfisherError
from . import files

FORMAT = 1
PHASES = ("draining", "drained", "resuming")


@dataclass
class Saved:
    """A crawl that is to be scheduled again under its own job id."""

    job: str
    project: str
    spider: str
    version: str | None
    arguments: dict[str, str]
    settings: dict[str, str]
    #: None if Scrapyd's database could not be read.
    priority: float | None
    #: pending or running.
    was: str
    #: Whether what it was scheduled with is known. If not, it is not scheduled again, but told of.
    complete: bool = True
    #: Whether it has a JOBDIR, so that it goes on where it stopped.
    goes_on: bool | None = None
    #: How much of its log is of an earlier run: when it was saved, and then when it was scheduled again.
    log_size: int = 0
    #: Whether it was asked to stop. A second signal would be an unclean end.
    signalled: bool = False
    #: Whether it has stopped, and not because it came to its own end.
    stopped: bool = False
    #: Whether it may have been scheduled again.
    scheduling: bool = False

    @property
    def schedule_command(self) -> str:
        """Return how to schedule it by hand."""
        return f"scrapyd.schedule {self.spider} project={self.project} jobid={self.job}"


@dataclass
class Drain:
    """A drain, from its begin until all is scheduled again."""

    path: Path
    phase: str = "draining"
    since: str = ""
    jobs: list[Saved] = field(default_factory=list)

    def get(self, job: str, project: str) -> Saved | None:
        return next((saved for saved in self.jobs if (saved.job, saved.project) == (job, project)), None)

    def write(self) -> None:
        """Write it to its file, in one step."""
        jobs = [asdict(saved) for saved in self.jobs]
        files.write_private(self.path, {"format": FORMAT, "phase": self.phase, "since": self.since, "jobs": jobs})

    def ids(self) -> list[str]:
        return [saved.job for saved in self.jobs]


def new(path: Path) -> Drain:
    return Drain(path, since=time.strftime("%Y-%m-%d %H:%M:%S%z"))


def read(path: Path) -> Drain | None:
    """
    Return what a drain remembers, or None if Scrapyd is not drained.

    :raises KingfisherError: if its file cannot be used
    """
    content = files.read_json(path)
    if content is None:
        return None
    try:
        drain = Drain(path, content["phase"], content["since"], [Saved(**entry) for entry in content["jobs"]])
        known = content["format"] == FORMAT and drain.phase in PHASES
    except (KeyError, TypeError) as e:
        raise KingfisherError(f"{path} is no drain file ({e}): correct it, or move it away, and rerun") from e
    if not known:
        raise KingfisherError(f"{path} was written by another version of scrapyd.drain: use that one")
    return drain
