"""Send an object of unknown length once, in parts, and let it be seen only when it is whole."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast

from .bucket import Bucket, errors
from .metadata import Stored

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

_T = TypeVar("_T")

PART_SIZE = 8 << 20
#: S3 takes 10,000 parts. A crawl whose size is known beforehand gets parts that fit, with room for tar and log.
MAX_PARTS = 9_000
_MD5 = re.compile(r"[0-9a-f]{32}\Z")


def part_size(content_size: int) -> int:
    """Return the size of part, in bytes, for about that many bytes."""
    return max(PART_SIZE, -(-content_size // MAX_PARTS))


class Senders:
    """Threads that send parts, shared by all uploads of a run, so that its memory is bounded whatever it archives."""

    def __init__(self, threads: int = 4) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="send")
        #: Bytes of parts that may be in memory: larger parts wait until they are the only one.
        self._room = self._free = threads * PART_SIZE
        self._freed = threading.Condition()

    def submit(self, send: Callable[..., _T], *args: Any, size: int) -> Future[_T]:
        """Send so many bytes in another thread, once there is room for them in memory."""
        size = min(size, self._room)
        with self._freed:
            self._freed.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            future = self._pool.submit(send, *args)
        except BaseException:
            self._release(size)
            raise
        future.add_done_callback(lambda _: self._release(size))
        return future

    def _release(self, size: int) -> None:
        with self._freed:
            self._free += size
            self._freed.notify_all()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


class Upload:
    """
    One object on its way: write, finish, then commit, or abort at any time.

    Nothing is visible before commit. What is smaller than a part is kept in memory until then, and sent as one.
    Every method raises StoreError if the store does not do what it should.
    """

    def __init__(self, bucket: Bucket, key: str, senders: Senders, size: int, labels: dict[str, str]) -> None:
        self.key = key
        self.sent = 0
        self._bucket = bucket
        self._senders = senders
        self._part_size = part_size(size)
        self._labels = labels
        self._buffer = bytearray()
        self._filled = 0
        self._size = 0
        self._crc32 = 0
        self._upload_id: str | None = None
        self._futures: list[Future[tuple[CompletedPartTypeDef, bytes]]] = []

    def write(self, data: bytes) -> None:
        """Take more of the content. Blocks while parts enough are on their way."""
        self._size += len(data)
        self._crc32 = zlib.crc32(data, self._crc32)
        left = memoryview(data)
        while left:
            if not self._filled:
                # All buffers have one size from the start: those that grow leave holes in memory that none fits into.
                self._buffer = bytearray(self._part_size)
            count = min(len(left), self._part_size - self._filled)
            memoryview(self._buffer)[self._filled : self._filled + count] = left[:count]
            self._filled += count
            left = left[count:]
            if self._filled == self._part_size:
                self._send_buffer()

    def finish(self) -> Stored:
        """Wait until all parts have arrived. Returns what the store is to report after commit."""
        del self._buffer[self._filled :]
        if self._upload_id is None:
            return Stored(self._size, f"{self._crc32:08x}", _md5(self._buffer).hex())
        if self._buffer:
            self._send_buffer()
        digests = hashlib.md5(usedforsecurity=False)
        for future in self._futures:
            digests.update(future.result()[1])
        return Stored(self._size, f"{self._crc32:08x}", f"{digests.hexdigest()}-{len(self._futures)}")

    def commit(self) -> None:
        """Make the object visible, in one step, in place of what was there."""
        checksum = _base64(self._crc32)
        with errors(f"put {self.key}"):
            if self._upload_id is None:
                self._bucket.client.put_object(
                    Bucket=self._bucket.name,
                    Key=self.key,
                    Body=bytes(self._buffer),
                    ChecksumCRC32=checksum,
                    **self._options(),
                )
                self.sent += len(self._buffer)
                return
            self._bucket.client.complete_multipart_upload(
                Bucket=self._bucket.name,
                Key=self.key,
                UploadId=self._upload_id,
                MultipartUpload={"Parts": [future.result()[0] for future in self._futures]},
                ChecksumCRC32=checksum,
                ChecksumType="FULL_OBJECT",
            )
            self._upload_id = None

    def abort(self) -> None:
        """Leave nothing behind, as far as the store still answers."""
        for future in self._futures:
            future.cancel()
        for future in self._futures:
            if not future.cancelled():
                future.exception()
        self._buffer = bytearray()
        if self._upload_id:
            with errors(f"abort {self.key}"):
                self._bucket.client.abort_multipart_upload(
                    Bucket=self._bucket.name, Key=self.key, UploadId=self._upload_id
                )
            self._upload_id = None

    def _send_buffer(self) -> None:
        part, self._buffer, self._filled = self._buffer, bytearray(), 0
        if self._upload_id is None:
            with errors(f"put {self.key}"):
                self._upload_id = self._bucket.client.create_multipart_upload(
                    Bucket=self._bucket.name,
                    Key=self.key,
                    ChecksumAlgorithm="CRC32",
                    ChecksumType="FULL_OBJECT",
                    **self._options(),
                )["UploadId"]
        for future in self._futures:
            if future.done():
                future.result()
        self._futures.append(
            self._senders.submit(self._send_part, self._upload_id, len(self._futures) + 1, part, size=len(part))
        )

    def _send_part(self, upload_id: str, number: int, part: bytearray) -> tuple[CompletedPartTypeDef, bytes]:
        checksum = _base64(zlib.crc32(part))
        with errors(f"put {self.key}, part {number}"):
            answer = self._bucket.client.upload_part(
                Bucket=self._bucket.name,
                Key=self.key,
                UploadId=upload_id,
                PartNumber=number,
                Body=cast("bytes", part),  # boto3 takes a bytearray, whatever its types say
                ChecksumCRC32=checksum,
            )
        self.sent += len(part)
        done: CompletedPartTypeDef = {"PartNumber": number, "ETag": answer["ETag"]}
        if "ChecksumCRC32" in answer:
            done["ChecksumCRC32"] = answer["ChecksumCRC32"]
        # The store made the entity tag of a part whose checksum it knows: then computing it once more proves nothing.
        etag = answer["ETag"].strip('"')
        known = answer.get("ChecksumCRC32") == checksum and _MD5.match(etag)
        digest = bytes.fromhex(etag) if known else _md5(part)
        part.clear()  # boto3's objects hold it, and each other, until Python looks for such rings
        return done, digest

    def _options(self) -> dict[str, Any]:
        return {"StorageClass": self._bucket.storage_class, "Metadata": self._labels}


def _md5(content: bytes | bytearray) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).digest()


def _base64(crc32: int) -> str:
    return base64.b64encode(crc32.to_bytes(4, "big")).decode()
