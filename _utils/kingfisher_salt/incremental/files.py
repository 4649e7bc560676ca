"""Files that root keeps: compared by content, owner and mode, and replaced in one step."""

from __future__ import annotations

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Managed:
    """A file as it should be."""

    path: Path
    content: bytes
    mode: int
    owner: int
    group: int

    def differs(self) -> bool:
        """Return whether the file is missing, or is not what it should be."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return True
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            wanted = (stat.S_IFREG | self.mode, self.owner, self.group, len(self.content))
            if (found.st_mode, found.st_uid, found.st_gid, found.st_size) != wanted:
                return True
            return file.read() != self.content

    def write(self) -> None:
        """Write the file, so that at no moment it is half-written, or readable by others than it should be."""
        make_directory(self.path.parent, self.group)
        # A leading dot keeps cron from reading it.
        descriptor, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(self.content)
                os.fchown(descriptor, self.owner, self.group)
                os.fchmod(descriptor, self.mode)
            os.replace(name, self.path)  # noqa: PTH105
        except BaseException:
            os.unlink(name)  # noqa: PTH108
            raise


def make_directory(path: Path, group: int) -> None:
    """Make a directory, and those above it, which a group may enter."""
    if not path.is_dir():
        make_directory(path.parent, group)
        path.mkdir()
        os.chown(path, -1, group)
        path.chmod(0o750)  # whatever the umask is
