"""An S3 client whose buckets are in memory: for tests that need thousands of runs, and that must fail at will."""

from __future__ import annotations

import base64
import hashlib
import io
import threading
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from email.utils import format_datetime
from typing import Any

from botocore.exceptions import ClientError


class KilledError(BaseException):
    """Stands for kill -9: nobody may catch it, and the store does not answer to this process any more."""


def refusal(code: str, status: int, operation: str = "Operation") -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, operation)


class MemoryS3:
    """As much of a boto3 client as the archive uses, with conditional writes and checksums."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.uploads: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str]] = []
        #: Called before each request with its operation and key; may raise.
        self.before: Callable[[str, str], None] = lambda _operation, _key: None
        self._mutex = threading.RLock()
        self._number = 0

    def state(self) -> dict[str, Any]:
        """Return all that a later run, or a reader, could see."""
        kept = ("Body", "Metadata", "StorageClass")
        return {key: {name: entry[name] for name in kept} for key, entry in sorted(self.objects.items())}

    def _begin(self, operation: str, key: str = "") -> None:
        self.requests.append((operation, key))
        self.before(operation, key)

    def put_object(self, **given: Any) -> Any:
        with self._mutex:
            key, body = given["Key"], bytes(given["Body"])
            self._begin("put_object", key)
            there = self.objects.get(key)
            if given.get("IfNoneMatch") == "*" and there:
                raise refusal("PreconditionFailed", 412)
            if "IfMatch" in given and not there:
                raise refusal("NoSuchKey", 404)
            if "IfMatch" in given and there and there["ETag"] != given["IfMatch"]:
                raise refusal("PreconditionFailed", 412)
            return self._store(key, body, f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"', given)

    def _store(self, key: str, body: bytes, etag: str, given: dict[str, Any]) -> Any:
        checksum = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
        if given.get("ChecksumCRC32", checksum) != checksum:
            raise refusal("BadDigest", 400)
        self.objects[key] = {
            "Body": body,
            "ETag": etag,
            "ChecksumCRC32": checksum,
            "Metadata": given.get("Metadata", {}),
            "StorageClass": given.get("StorageClass", "STANDARD"),
            "LastModified": datetime.now(timezone.utc),
        }
        return {"ETag": etag}

    def _find(self, key: str) -> dict[str, Any]:
        if key not in self.objects:
            raise refusal("NoSuchKey", 404)
        return self.objects[key]

    def get_object(self, *, Key: str, **_: Any) -> Any:  # noqa: N803
        with self._mutex:
            self._begin("get_object", Key)
            found = self._find(Key)
            return {**found, "Body": io.BytesIO(found["Body"]), "ResponseMetadata": _metadata()}

    def head_object(self, *, Key: str, **_: Any) -> Any:  # noqa: N803
        with self._mutex:
            self._begin("head_object", Key)
            found = self._find(Key)
            return {**found, "ContentLength": len(found["Body"]), "ChecksumType": "FULL_OBJECT"}

    def delete_object(self, *, Key: str, **given: Any) -> Any:  # noqa: N803
        with self._mutex:
            self._begin("delete_object", Key)
            if "IfMatch" in given and Key in self.objects and self.objects[Key]["ETag"] != given["IfMatch"]:
                raise refusal("PreconditionFailed", 412)
            self.objects.pop(Key, None)
            return {}

    def list_objects_v2(self, *, Prefix: str = "", **_: Any) -> Any:  # noqa: N803
        with self._mutex:
            self._begin("list_objects_v2", Prefix)
            found = [
                {"Key": key, "Size": len(entry["Body"]), "ETag": entry["ETag"]}
                for key, entry in sorted(self.objects.items())
                if key.startswith(Prefix)
            ]
            return {"Contents": found} if found else {}

    def create_multipart_upload(self, **given: Any) -> Any:
        with self._mutex:
            self._begin("create_multipart_upload", given["Key"])
            self._number += 1
            self.uploads[str(self._number)] = {**given, "parts": {}}
            return {"UploadId": str(self._number)}

    def upload_part(self, **given: Any) -> Any:
        with self._mutex:
            self._begin("upload_part", given["Key"])
            self.uploads[given["UploadId"]]["parts"][given["PartNumber"]] = bytes(given["Body"])
            return {"ETag": f'"{hashlib.md5(given["Body"], usedforsecurity=False).hexdigest()}"'}

    def complete_multipart_upload(self, **given: Any) -> Any:
        with self._mutex:
            self._begin("complete_multipart_upload", given["Key"])
            upload = self.uploads[given["UploadId"]]
            parts = [upload["parts"][part["PartNumber"]] for part in given["MultipartUpload"]["Parts"]]
            digests = b"".join(hashlib.md5(part, usedforsecurity=False).digest() for part in parts)
            etag = f'"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"'
            answer = self._store(given["Key"], b"".join(parts), etag, {**upload, **given})
            del self.uploads[given["UploadId"]]
            return answer

    def abort_multipart_upload(self, **given: Any) -> Any:
        with self._mutex:
            self._begin("abort_multipart_upload", given["Key"])
            self.uploads.pop(given["UploadId"], None)
            return {}

    def list_multipart_uploads(self, **_: Any) -> Any:
        with self._mutex:
            self._begin("list_multipart_uploads")
            return {"Uploads": [{"Key": u["Key"], "UploadId": number} for number, u in self.uploads.items()]}

    def get_paginator(self, operation: str) -> Any:
        return _Paginator(getattr(self, operation))


class _Paginator:
    def __init__(self, request: Callable[..., Any]) -> None:
        self._request = request

    def paginate(self, **given: Any) -> Iterator[Any]:
        yield self._request(**given)


def _metadata() -> dict[str, Any]:
    return {"HTTPHeaders": {"date": format_datetime(datetime.now(timezone.utc), usegmt=True)}}
