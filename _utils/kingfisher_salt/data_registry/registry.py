"""The Data Registry, as it is asked through its own shell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import settings
from ..apps import shell
from ..errors import KingfisherError
from .config import Config

TASKS = ("collect", "process", "pelican", "exporter", "flattener")
STATUSES = ("PLANNED", "WAITING", "RUNNING", "COMPLETED")

#: What waits in queues: by name, how many messages are ready and unacknowledged, and how many consumers there are.
Counts = Callable[[list[str]], Mapping[str, Mapping[str, int] | None]]

_INSIDE = Path(__file__).with_name("inside.py")


class Registry:
    """One Data Registry."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def ask(self, action: str, **arguments: Any) -> Any:
        """
        Return what a function of inside.py returns.

        :raises RaisedError: if the application raises
        :raises ApplicationError: if it cannot be asked
        """
        code = _INSIDE.read_text(encoding="utf-8")
        timeout = self.config.app.timeout + arguments.get("wait", 0)
        return shell.python(self.config.app, code, {"action": action, **arguments}, timeout)

    def trace(self, job_id: int) -> dict[str, Any]:
        """
        Return a job, and what the other systems have of it.

        :raises KingfisherError: if there is no such job
        """
        found: dict[str, Any] | None = self.ask("trace", pk=job_id)
        if found is None:
            raise unknown(job_id)
        return found


def unknown(job_id: int) -> KingfisherError:
    return KingfisherError(
        f"job {job_id} is unknown to the Data Registry: data_registry.jobs lists those that there are"
    )


def check_task(task: str) -> None:
    if task not in TASKS:
        raise KingfisherError(f"argument task: there is no task {task}{settings.nearest(task, TASKS)}")
