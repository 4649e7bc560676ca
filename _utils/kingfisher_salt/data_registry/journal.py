"""What a deletion has yet to see gone, so that it is finished though it was killed after the job's row went."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import KingfisherError
from ..scrapyd.files import locked, read_json, remove, write_private


class Journal:
    """The file for one job, which only its owner can read."""

    def __init__(self, directory: Path, job_id: int) -> None:
        self._directory = directory
        self.path = directory / f"delete-{job_id}.json"

    def read(self) -> dict[str, Any] | None:
        found = read_json(self.path)
        if found is not None and not isinstance(found, dict):
            raise KingfisherError(f"{self.path} is damaged: move it away, and run this again")
        return found

    def write(self, entry: dict[str, Any]) -> None:
        write_private(self.path, entry)

    def remove(self) -> None:
        remove(self.path)


@contextmanager
def one_at_a_time(directory: Path) -> Iterator[None]:
    """
    Hold the lock of all that changes jobs from here.

    :raises LockedError: if another process holds it
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as e:
        raise KingfisherError(
            f"{directory} cannot be made: {e.strerror}: correct data_registry:state_directory"
        ) from e
    with locked(directory / "lock", "another deletion or restart"):
        yield
