"""Pack a crawl directory into tar and LZ4, reading each byte once."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator

import lz4.frame

from ..errors import ChangedError
from .checksum import Checksum
from .crawl import Crawl, Fingerprint, Node, show, walk
from .metadata import Packed

_READ = 1 << 20
_BLOCK = tarfile.BLOCKSIZE
#: Small pieces are joined before they are compressed: a call for each header would cost more than the bytes.
_JOIN = 1 << 18


class Pack:
    """
    Iterate over it to get ``data.tar.lz4``; afterwards it knows what was in it.

    Members are in ``os.walk`` order, so that whoever reads the archive can compute the checksum on the way.
    """

    def __init__(self, crawl: Crawl) -> None:
        self._crawl = crawl
        self._checksum = Checksum()
        self._fingerprint = Fingerprint()
        self._files = self._members = 0

    @property
    def read(self) -> int:
        """How many bytes of the files were read until now."""
        return self._checksum.bytes

    @property
    def fingerprint(self) -> str:
        """What was packed, comparable to a survey's."""
        return self._fingerprint.hexdigest()

    @property
    def packed(self) -> Packed:
        return Packed(self._files, self._members, self._checksum)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the archive, or raise ChangedError if a file grows, shrinks, vanishes or cannot be read."""
        compressor = lz4.frame.LZ4FrameCompressor(block_size=lz4.frame.BLOCKSIZE_MAX1MB, compression_level=0)
        yield compressor.begin()
        joined = bytearray()
        for piece in self._tar():
            if len(piece) >= _JOIN:
                if joined:
                    yield compressor.compress(joined)
                    joined = bytearray()
                yield compressor.compress(piece)
                continue
            joined += piece
            if len(joined) >= _JOIN:
                yield compressor.compress(joined)
                joined = bytearray()
        yield compressor.compress(joined)
        yield compressor.flush()

    def _tar(self) -> Iterator[bytes | memoryview]:
        yield self._header(self._crawl.id, self._crawl.directory.lstat(), tarfile.DIRTYPE)
        for node in walk(self._crawl.directory):
            self._fingerprint.add(node.path, node.stat)
            if node.is_directory:
                yield self._header(f"{self._crawl.id}/{node.path}", node.stat, tarfile.DIRTYPE)
            elif node.is_file:
                yield self._header(f"{self._crawl.id}/{node.path}", node.stat, tarfile.REGTYPE)
                yield from self._content(node)
                self._files += 1
            else:
                raise ChangedError(f"{show(node.path)} is neither a file nor a directory")
        yield bytes(2 * _BLOCK)

    def _header(self, name: str, status: os.stat_result, kind: bytes) -> bytes:
        member = tarfile.TarInfo(name)
        member.type = kind
        member.mode = status.st_mode & 0o7777
        member.uid, member.gid = status.st_uid, status.st_gid
        member.mtime = int(status.st_mtime)
        member.size = status.st_size if kind == tarfile.REGTYPE else 0
        self._members += 1
        # GNU's format takes names of any bytes and length, and sizes of any size, and is read everywhere.
        return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")

    def _content(self, node: Node) -> Iterator[bytes | memoryview]:
        try:
            fd = os.open(node.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=node.parent)
        except OSError as e:
            raise ChangedError(f"{show(node.path)} cannot be read: {e.strerror}") from e
        try:
            left = node.stat.st_size
            if _identity(os.fstat(fd)) != _identity(node.stat):
                raise ChangedError(f"{show(node.path)} changed while it was read")
            while left:
                data = os.read(fd, min(left, _READ))
                if not data:
                    raise ChangedError(f"{show(node.path)} became shorter while it was read")
                left -= len(data)
                self._checksum.update(node.path, data)
                yield data
            if _identity(os.fstat(fd)) != _identity(node.stat):
                raise ChangedError(f"{show(node.path)} changed while it was read")
        except OSError as e:
            raise ChangedError(f"{show(node.path)} cannot be read: {e.strerror}") from e
        finally:
            os.close(fd)
        if padding := -node.stat.st_size % _BLOCK:
            yield bytes(padding)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_mode, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def checksum(crawl: Crawl) -> Checksum:
    """
    Return the checksum of a crawl on disk.

    :raises ChangedError: as packing does
    """
    pack = Pack(crawl)
    for _ in pack._tar():  # noqa: SLF001
        pass
    return pack.packed.checksum
