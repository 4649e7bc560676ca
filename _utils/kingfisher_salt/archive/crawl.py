"""Crawls on disk: which there are, and what is in one."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import xxhash

from ..errors import ChangedError, KingfisherError

log = logging.getLogger(__name__)

DATA_VERSION_FORMAT = "%Y%m%d_%H%M%S"
#: Files that Kingfisher Collect writes about a crawl, which are not its data.
JOB_FILES = ("scrapyd-job.txt", "scrapyd-log.txt")

_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z", re.ASCII)
_DATA_VERSION = re.compile(r"[0-9]{8}_[0-9]{6}\Z")
_HIDDEN = re.compile(r"\.([0-9]{8}_[0-9]{6})\.(checking|deleting)\Z")
#: Directories may be so deep; each level that is open takes a file descriptor.
_MAX_DEPTH = 100


def parse_data_version(name: str) -> datetime | None:
    """Return the time that a crawl directory's name stands for, or None if it is no such name."""
    if not _DATA_VERSION.match(name):
        return None
    try:
        return datetime.strptime(name, DATA_VERSION_FORMAT)  # noqa: DTZ007 - Kingfisher Collect's names have no zone
    except ValueError:
        return None


@dataclass(frozen=True, order=True)
class Crawl:
    """A crawl directory, ``DATA/SOURCE/YYYYMMDD_HHMMSS``."""

    source_id: str
    data_version: datetime
    data_directory: Path

    @property
    def id(self) -> str:
        """The path of the crawl directory in the data directory, as in metadata.json."""
        return f"{self.source_id}/{self.name}"

    @property
    def name(self) -> str:
        return self.data_version.strftime(DATA_VERSION_FORMAT)

    @property
    def directory(self) -> Path:
        return self.data_directory / self.source_id / self.name

    @property
    def aside(self) -> Path:
        """What the directory is called while it is found out whether it may be deleted."""
        return self.data_directory / self.source_id / f".{self.name}.checking"

    @property
    def hidden(self) -> Path:
        """What the directory is called once its deletion has begun, so that half of it is never taken for a crawl."""
        return self.data_directory / self.source_id / f".{self.name}.deleting"

    @property
    def period(self) -> tuple[int, int]:
        return self.data_version.year, self.data_version.month

    @property
    def prefix(self) -> str:
        """Where its archive goes in the bucket."""
        return f"{self.source_id}/{self.data_version:%Y/%m}"


@dataclass(frozen=True)
class DataDirectory:
    """What was found in the data directory."""

    #: The crawls of each source, in the order of time.
    crawls: dict[str, list[Crawl]]
    #: Crawls whose deletion was begun and not finished.
    hidden: list[Crawl]
    #: Crawls that were to be deleted if they were unchanged, which was not found out.
    aside: list[Crawl]
    #: What is not considered, and why.
    ignored: dict[str, str]
    #: Sources that cannot be listed, and why.
    failed: dict[str, str]


def find(data_directory: Path, sources: set[str] | None = None) -> DataDirectory:
    """
    List the crawls in the data directory, without looking inside them.

    :param sources: the sources wanted, if not all
    :raises KingfisherError: if the data directory cannot be read
    """
    found = DataDirectory({}, [], [], {}, {})
    try:
        entries = sorted(os.scandir(data_directory), key=lambda entry: entry.name)
    except OSError as e:
        raise KingfisherError(
            f"{data_directory} cannot be listed: {e.strerror}: correct kingfisher_archive:data_directory"
        ) from e
    for source in entries:
        if sources is not None and source.name not in sources:
            continue
        if reason := _not_a_source(source):
            found.ignored[show(source.name)] = reason
            continue
        try:
            crawls = _find(source, data_directory, found)
        except OSError as e:
            found.failed[source.name] = f"{source.name}: {source.path} cannot be listed: {e.strerror}"
            continue
        if crawls:
            found.crawls[source.name] = sorted(crawls)
    return found


def _find(source: os.DirEntry[str], data_directory: Path, found: DataDirectory) -> list[Crawl]:
    crawls = []
    for entry in os.scandir(source.path):
        if (match := _HIDDEN.match(entry.name)) and (version := parse_data_version(match[1])):
            if entry.is_dir(follow_symlinks=False):
                interrupted = found.hidden if match[2] == "deleting" else found.aside
                interrupted.append(Crawl(source.name, version, data_directory))
            continue
        version = parse_data_version(entry.name)
        if entry.is_symlink():
            found.ignored[f"{source.name}/{show(entry.name)}"] = "symlink"
        elif version is None or not entry.is_dir():
            found.ignored[f"{source.name}/{show(entry.name)}"] = "no_timestamp"
        else:
            crawls.append(Crawl(source.name, version, data_directory))
    return crawls


def _not_a_source(entry: os.DirEntry[str]) -> str | None:
    if entry.is_symlink():
        return "symlink"
    if not entry.is_dir():
        return "no_directory"
    if entry.name.endswith("_sample"):
        return "sample"
    if not _SOURCE.match(entry.name):
        return "no_source_name"
    return None


@dataclass(frozen=True)
class Node:
    """A file or directory inside a crawl directory."""

    #: Relative to the crawl directory, undecodable bytes as surrogates.
    path: str
    #: An open directory, in which ``name`` is.
    parent: int
    name: str
    stat: os.stat_result

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.stat.st_mode)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.stat.st_mode)


def walk(directory: Path) -> Iterator[Node]:
    """
    Yield what is in a directory, in ``os.walk`` order: a directory's files by name, then each of its directories.

    Directories are opened one inside the other and never by way of a symlink, so nothing outside is reached, whatever
    is renamed meanwhile. Whatever is neither a file nor a directory is yielded among the files.

    :raises ChangedError: if a directory vanishes or is replaced meanwhile
    """
    try:
        top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as e:
        raise ChangedError(f"{directory} cannot be opened: {e.strerror}") from e
    yield from _walk(top, "")


def _walk(fd: int, prefix: str, depth: int = 1) -> Iterator[Node]:
    try:
        if depth > _MAX_DEPTH:
            raise ChangedError(f"{show(prefix[:60])}... has directories more than {_MAX_DEPTH} deep: move them away")
        try:
            with os.scandir(fd) as entries:
                nodes = [Node(prefix + e.name, fd, e.name, e.stat(follow_symlinks=False)) for e in entries]
        except OSError as e:
            raise ChangedError(f"{show(prefix) or '.'} cannot be listed: {e.strerror}") from e
        nodes.sort(key=lambda node: node.name)
        yield from (node for node in nodes if not node.is_directory)
        for node in nodes:
            if node.is_directory:
                yield node
                try:
                    child = os.open(node.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                except OSError as e:
                    raise ChangedError(f"{show(node.path)} cannot be opened: {e.strerror}") from e
                yield from _walk(child, f"{node.path}/", depth + 1)
    finally:
        os.close(fd)


def show(path: str) -> str:
    """Return a path in a form that is safe to print, on one line."""
    return (
        path.encode(errors="surrogateescape")
        .decode(errors="backslashreplace")
        .encode("unicode_escape")
        .decode("ascii")
    )


def explain(error: Exception) -> str:
    """Return an error as the end of a sentence, on one line. What no operator can have caused is logged too."""
    if isinstance(error, KingfisherError):
        return str(error)
    if isinstance(error, OSError):
        return show(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
    log.error("unexpected error", exc_info=error)
    return show(f"unexpected {type(error).__name__}: {error}: report it, with the log")


@dataclass(frozen=True)
class Survey:
    """What a crawl directory holds, without the files' contents."""

    bytes: int
    files: int
    #: Those without Kingfisher Collect's own.
    data_bytes: int
    data_files: int
    #: When something in it was last written, in seconds since 1970.
    newest: float
    #: Differs once a name, a size, a time of modification or an inode does.
    fingerprint: str
    #: What cannot be archived: anything but files and directories.
    special: str | None


class Fingerprint:
    """Sums up the nodes of a crawl directory, in the order of :func:`walk`."""

    def __init__(self) -> None:
        self._hash = xxhash.xxh3_128()

    def add(self, path: str, status: os.stat_result) -> None:
        size = status.st_size if stat.S_ISREG(status.st_mode) else 0
        line = f"{path}\0{status.st_mode}\0{status.st_ino}\0{size}\0{status.st_mtime_ns}\n"
        self._hash.update(line.encode(errors="surrogateescape"))

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def survey(directory: Path) -> Survey:
    """
    Sum up a crawl directory, in memory that does not grow with it.

    :raises ChangedError: if it changes meanwhile
    """
    fingerprint = Fingerprint()
    total = files = data_bytes = data_files = 0
    newest = directory.stat().st_mtime
    special = None
    for node in walk(directory):
        fingerprint.add(node.path, node.stat)
        newest = max(newest, node.stat.st_mtime)
        if node.is_file:
            files += 1
            total += node.stat.st_size
            if node.path not in JOB_FILES:
                data_files += 1
                data_bytes += node.stat.st_size
        elif not node.is_directory and special is None:
            special = f"{show(node.path)} is {_KINDS.get(stat.S_IFMT(node.stat.st_mode), 'no file')}"
    return Survey(total, files, data_bytes, data_files, newest, fingerprint.hexdigest(), special)


_KINDS = {
    stat.S_IFLNK: "a symlink",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}
