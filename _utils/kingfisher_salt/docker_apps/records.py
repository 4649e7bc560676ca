"""What is known of an application on this server: that it is ours, and the images to go back to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import KingfisherError
from ..scrapyd.files import locked, read_json, remove, write_private

#: By service: reference, id and digest of an image.
Images = dict[str, dict[str, Any]]


@dataclass
class Record:
    """
    The file that marks an application as ours. It is written before anything of the application is.

    ``good`` are the images that last were healthy; ``before``, those that were so before them. Neither changes while
    an update is under way, so that one which was killed can be begun again, or taken back.
    """

    path: Path
    app: str
    directory: str
    project: str | None = None
    good: Images = field(default_factory=dict)
    before: Images = field(default_factory=dict)
    #: What the database was last migrated with: an image, and the configuration of the service that did it.
    migrated: str | None = None
    #: By service: the hash of what the compose file said when it was brought up, and its containers' label.
    made: dict[str, list[str]] = field(default_factory=dict)

    def write(self) -> None:
        write_private(self.path, {key: value for key, value in asdict(self).items() if key != "path"})

    def remove(self) -> None:
        remove(self.path)

    @property
    def kept(self) -> set[str]:
        """Return the ids of the images that it may be rolled back to."""
        return {image["id"] for images in (self.good, self.before) for image in images.values()}


def read(directory: Path, app: str) -> Record | None:
    """
    Return what is known of an application, or None if it is not ours.

    :raises KingfisherError: if its file cannot be used
    """
    path = directory / f"{app}.json"
    content = read_json(path)
    if content is None:
        return None
    try:
        return Record(path, **content)
    except TypeError as e:
        raise KingfisherError(f"{path} is damaged ({e}): move it away, and run this again") from e


def new(directory: Path, app: str, where: Path) -> Record:
    """Return a record of an application that there was none of. It is not written yet."""
    return Record(directory / f"{app}.json", app, str(where))


def every(directory: Path) -> list[Record]:
    """Return what is known of each application of ours."""
    found = (read(directory, path.stem) for path in sorted(directory.glob("*.json")))
    return [record for record in found if record]


@contextmanager
def one_at_a_time(directory: Path, app: str) -> Iterator[None]:
    """
    Hold the lock of all that changes an application from here.

    :raises LockedError: if another process holds it
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as e:
        raise KingfisherError(f"{directory} cannot be made: {e.strerror}: run this as root") from e
    with locked(directory / f"{app}.lock", f"another change of {app}"):
        yield
