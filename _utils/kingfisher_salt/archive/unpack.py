"""Read archives back as streams: what they hold, whole or file by file."""

from __future__ import annotations

import io
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO

import lz4.frame
import urllib3.exceptions
from botocore.exceptions import BotoCoreError

from ..errors import StoreError
from .checksum import Checksum
from .metadata import Packed, Stored

_READ = 1 << 20
#: Small files beside directories are remembered: old archives have them after what they precede in the checksum.
_REMEMBERED = 1 << 16

#: kingfisher-archive may have written the whole path of the data directory before SOURCE/YYYYMMDD_HHMMSS.
_MEMBER = re.compile(r"(?:[^\0]*/)??(?P<id>[^/\0]+/[0-9]{8}_[0-9]{6})(?:/(?P<path>[^\0]*))?\Z", re.ASCII)

Key = tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Member:
    """A file or directory in an archive."""

    #: Relative to the crawl directory; empty for the directory itself.
    path: str
    info: tarfile.TarInfo
    content: Content | None

    @property
    def key(self) -> Key:
        """Sorts as ``os.walk`` goes: the files of a directory, then its directories."""
        *directories, name = self.path.split("/")
        return (*((1, directory) for directory in directories), (0, name))


@dataclass(frozen=True)
class Contents:
    """What is in an archive, read from its first byte to its last."""

    crawl_id: str
    packed: Packed
    stored: Stored


class Counted(io.RawIOBase):
    """Sums up a stream as it is read, and turns the network's errors into ours."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self.size = 0
        self.crc32 = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._stream.read(len(buffer))
        except (urllib3.exceptions.HTTPError, BotoCoreError, OSError) as e:
            raise StoreError(f"get {self._name}: the connection failed after {self.size} bytes: run this again") from e
        buffer[: len(data)] = data
        self.size += len(data)
        self.crc32 = zlib.crc32(data, self.crc32)
        return len(data)

    @property
    def stored(self) -> Stored:
        return Stored(self.size, f"{self.crc32:08x}")


#: What tarfile and LZ4 raise on bytes that are not what they should be.
_DAMAGE = (tarfile.TarError, EOFError, RuntimeError, zlib.error, ValueError)


class Content:
    """The content of a member."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        self._name = name

    def read(self, size: int) -> bytes:
        """
        Return the next bytes, so many at most, or none at the end.

        :raises StoreError: if the archive is damaged
        """
        try:
            return self._stream.read(size)
        except _DAMAGE as e:
            raise StoreError(f"{self._name} is damaged: {e}") from e


class Reader:
    """
    Iterate over it to get an archive's members; afterwards ``stored`` tells what its bytes were.

    A member's content can be read until the next member is asked for.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._counted = Counted(stream, name)
        self._name = name
        #: The id of the crawl, ``SOURCE/YYYYMMDD_HHMMSS``, once the first member was read.
        self.crawl_id = ""

    @property
    def stored(self) -> Stored:
        return self._counted.stored

    def __iter__(self) -> Iterator[Member]:
        """
        Yield the members.

        :raises StoreError: if it is no LZ4 and tar, is cut short, does not match its own checksum, or has a member
            outside the crawl directory, or one that is neither a file nor a directory
        """
        try:
            with lz4.frame.LZ4FrameFile(io.BufferedReader(self._counted, _READ)) as plain:
                with tarfile.open(fileobj=plain, mode="r|", bufsize=_READ, errors="surrogateescape") as tar:
                    for info in tar:
                        tar.members = []  # type: ignore[attr-defined] # else it would remember them all
                        yield self._member(tar, info)
                while plain.read(_READ):  # to the frame's end, and so to its checksum
                    pass
        except _DAMAGE as e:
            raise StoreError(f"{self._name} is damaged: {e}") from e

    def _member(self, tar: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
        match = _MEMBER.match(info.name)
        if not match or self.crawl_id not in ("", match["id"]) or ".." in info.name.split("/"):
            raise StoreError(f"{self._name} has a member {info.name!r} outside SOURCE/YYYYMMDD_HHMMSS")
        self.crawl_id = match["id"]
        path = "/".join(part for part in (match["path"] or "").split("/") if part not in ("", "."))
        if not (info.isreg() or info.isdir()) or info.issparse():
            raise StoreError(f"{self._name} has a member {info.name!r} that is neither a file nor a directory")
        content = tar.extractfile(info) if info.isreg() else None
        return Member(path, info, Content(content, self._name) if content else None)


def read(open_stream: Callable[[], BinaryIO], name: str) -> Contents:
    """
    Read an archive back and sum up its contents.

    Our archives are read once. Those that kingfisher-archive wrote have files after directories: they are read
    once more for each time that this order was not that of the checksum.

    :param open_stream: opens the archive from its start
    :raises StoreError: if it is damaged
    """
    reader = Reader(open_stream(), name)
    checksum = Checksum()
    files = members = 0
    last: Key = ()
    ordered = True
    small: dict[Key, bytes] = {}
    for member in reader:
        members += 1
        if member.content is None:
            continue
        files += 1
        ordered = ordered and last < member.key
        last = member.key
        keep = len(last) == 1 and member.info.size <= _REMEMBERED
        kept = b""
        while data := member.content.read(_READ):
            checksum.update(member.path, data)
            kept += data if keep else b""
        if keep:
            small[last] = kept
    if not ordered:
        checksum = _in_order(open_stream, name, small)
    return Contents(reader.crawl_id, Packed(files, members, checksum), reader.stored)


def _in_order(open_stream: Callable[[], BinaryIO], name: str, small: dict[Key, bytes]) -> Checksum:
    keys = sorted(member.key for member in Reader(open_stream(), name) if member.content)
    checksum = Checksum()
    done = 0
    while done < len(keys):
        before = done = _take(keys, done, small, checksum)
        for member in Reader(open_stream(), name):
            if member.content is not None and done < len(keys) and member.key == keys[done]:
                while data := member.content.read(_READ):
                    checksum.update(member.path, data)
                done = _take(keys, done + 1, small, checksum)
        if before == done < len(keys):
            raise StoreError(f"{name} changed while it was read: run this again")
    return checksum


def _take(keys: list[Key], done: int, small: dict[Key, bytes], checksum: Checksum) -> int:
    """Add the files that come next and are remembered. Returns how many of all were added until now."""
    while done < len(keys) and keys[done] in small:
        checksum.update(keys[done][-1][1], small[keys[done]])
        done += 1
    return done
