"""The bucket: its layout, and the few requests that everything else is made of."""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import boto3
import botocore.session
from botocore.config import Config as ClientConfig
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError
from botocore.loaders import Loader

from ..errors import StoreError, UnreachableError
from .decision import Period
from .metadata import Stored

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DATA = "data.tar.lz4"
LOG = "scrapy.log"
METADATA = "metadata.json"
#: Stands beside an archive while it is replaced, with the metadata.json of before and after.
REPLACING = "replacing.json"

_KEY = re.compile(r"(?P<source>[^/]+)/(?P<year>[0-9]{4})/(?P<month>0[1-9]|1[0-2])/(?P<name>[^/]+)\Z")
_ABSENT = {"404", "NoSuchKey", "NotFound"}


@dataclass
class Archive:
    """What the listing of the bucket says of one source and month."""

    source_id: str
    period: Period
    #: Size in bytes and entity tag of each object, by the last part of its key.
    objects: dict[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        return f"{self.source_id}/{self.period[0]:04d}/{self.period[1]:02d}"

    @property
    def published(self) -> bool:
        return METADATA in self.objects


def connect(s3: dict[str, Any], connections: int = 10) -> S3Client:
    """
    Return an S3 client. Credentials come by any means that boto3 knows, unless the settings name one.

    :param s3: the setting of the same name
    :raises StoreError: if the profile or the credentials cannot be used
    """
    core = botocore.session.Session(profile=s3["profile"])
    core.register_component("data_loader", _descriptions())
    if s3["credentials_file"]:
        core.set_config_variable("credentials_file", s3["credentials_file"])
    config = ClientConfig(
        connect_timeout=s3["connect_timeout"],
        read_timeout=s3["read_timeout"],
        retries={"mode": "standard", "total_max_attempts": s3["attempts"]},
        max_pool_connections=connections,
        tcp_keepalive=True,
        s3={"addressing_style": "path"} if s3["endpoint_url"] else {},
        user_agent_extra="kingfisher-salt",
    )
    with errors("S3"), _invalid_url():
        return boto3.Session(botocore_session=core, region_name=s3["region"]).client(
            "s3",
            endpoint_url=s3["endpoint_url"],
            aws_access_key_id=s3["access_key_id"],
            aws_secret_access_key=s3["secret_access_key"],
            aws_session_token=s3["session_token"],
            config=config,
        )


@functools.cache
def _descriptions() -> Loader:
    """Return botocore's descriptions of services, which take longer to read than the rest of a client to make."""
    return cast("Loader", botocore.session.Session().get_component("data_loader"))


@contextmanager
def _invalid_url() -> Iterator[None]:
    try:
        yield
    except ValueError as e:
        raise StoreError(f"{e}: correct kingfisher_archive:s3:endpoint_url") from e


@contextmanager
def errors(doing: str) -> Iterator[None]:
    """Turn boto3's errors into one sentence: what was being done, what the store said, what to look at."""
    try:
        yield
    except ClientError as e:
        code = e.response.get("Error", {}).get("Code", "?")
        raise StoreError(f"{doing}: the store answered {code}: {_advice(code)}") from e
    except (EndpointConnectionError, ConnectTimeoutError) as e:
        raise UnreachableError(f"{doing}: {e}: check kingfisher_archive:s3:endpoint_url and the network") from e
    except BotoCoreError as e:
        raise StoreError(f"{doing}: {e}: check kingfisher_archive:s3 and the network") from e


def _advice(code: str) -> str:
    if code in {"AccessDenied", "403", "Forbidden"}:
        return "give the user the four permissions in docs/archive.md"
    if code in {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}:
        return "check the credentials in kingfisher_archive:s3"
    if code == "NoSuchBucket":
        return "create the bucket, or correct kingfisher_archive:bucket"
    if code == "InvalidObjectState":
        return "the object is in a cold storage class: restore it in S3 first, then run this again"
    if code in {"SlowDown", "503", "500", "InternalError", "ServiceUnavailable"}:
        return "the store is overloaded or ill: run this again later"
    return "run this again, or look the code up in the store's documentation"


def is_absent(error: ClientError) -> bool:
    return error.response.get("Error", {}).get("Code") in _ABSENT


def is_refused_condition(error: ClientError) -> bool:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (409, 412)


class Bucket:
    """A bucket of an S3 client's. Every method raises StoreError if the store does not do what it should."""

    def __init__(self, client: S3Client, name: str, storage_class: str = "STANDARD_IA") -> None:
        self.client = client
        self.name = name
        self.storage_class = storage_class

    def check(self) -> None:
        """Raise StoreError unless the bucket exists and these credentials may list it."""
        with errors(f"bucket {self.name}"):
            self.client.list_objects_v2(Bucket=self.name, MaxKeys=1)

    def archives(self, sources: set[str] | None = None) -> dict[str, dict[Period, Archive]]:
        """
        List the archives, by source and month, with one request per 1,000 keys.

        :param sources: the sources wanted; few are listed one by one, many are picked out of the whole listing
        """
        found: dict[str, dict[Period, Archive]] = {}
        prefixes = [f"{source}/" for source in sorted(sources)] if sources is not None and len(sources) <= 5 else [""]
        for prefix in prefixes:
            for key, size, etag in self._list(prefix):
                if (match := _KEY.match(key)) and (sources is None or match["source"] in sources):
                    period = int(match["year"]), int(match["month"])
                    months = found.setdefault(match["source"], {})
                    months.setdefault(period, Archive(match["source"], period)).objects[match["name"]] = size, etag
        return found

    def archive(self, source_id: str, period: Period) -> Archive:
        """List one month of one source. The archive has no objects if there are none."""
        archive = Archive(source_id, period)
        for key, size, etag in self._list(f"{archive.prefix}/"):
            archive.objects[key.rpartition("/")[2]] = size, etag
        return archive

    def _list(self, prefix: str) -> Iterator[tuple[str, int, str]]:
        with errors(f"list bucket {self.name}"):
            for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix):
                for item in page.get("Contents", []):
                    yield item["Key"], item["Size"], item["ETag"].strip('"')

    def get(self, key: str, limit: int = 1 << 20) -> bytes | None:
        """Return the content of a small object, or None if there is none."""
        with errors(f"get {key}"):
            try:
                return self.client.get_object(Bucket=self.name, Key=key)["Body"].read(limit)
            except ClientError as e:
                if is_absent(e):
                    return None
                raise

    def open(self, key: str) -> BinaryIO:
        """Return the content of an object as a stream."""
        with errors(f"get {key}"):
            return cast("BinaryIO", self.client.get_object(Bucket=self.name, Key=key)["Body"])

    def put(self, key: str, content: bytes) -> None:
        """Write a small object."""
        with errors(f"put {key}"):
            self.client.put_object(
                Bucket=self.name,
                Key=key,
                Body=content,
                ContentType="application/json",
            )

    def delete(self, key: str) -> None:
        """Delete an object. It is no error if there is none."""
        with errors(f"delete {key}"):
            self.client.delete_object(Bucket=self.name, Key=key)

    def head(self, key: str) -> dict[str, Any] | None:
        """Return what the store reports of an object, or None if there is none."""
        with errors(f"head {key}"):
            try:
                return dict(self.client.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED"))
            except ClientError as e:
                if is_absent(e):
                    return None
                raise

    def differs(self, key: str, wanted: Stored) -> str | None:
        """
        Compare an object with what was sent, by size and by checksum of the whole object, as the store reports them.

        :returns: what is wrong, as the end of a sentence, or None
        """
        head = self.head(key)
        if head is None:
            return "is not there"
        if head["ContentLength"] != wanted.size:
            return f"has {head['ContentLength']} bytes, not {wanted.size}"
        if "ChecksumCRC32" in head and head.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT":
            crc32 = base64.b64decode(head["ChecksumCRC32"]).hex()
            return None if crc32 == wanted.crc32 else f"has the CRC-32 {crc32}, not {wanted.crc32}"
        etag = head["ETag"].strip('"')
        if wanted.etag is None:
            return f"has no checksum of the whole object to compare (entity tag {etag}): read it with deep=True"
        return None if etag == wanted.etag else f"has the entity tag {etag}, not {wanted.etag}"

    def verify(self, key: str, wanted: Stored) -> None:
        """Raise StoreError unless an object is what was sent."""
        if wrong := self.differs(key, wanted):
            raise StoreError(f"{key} {wrong} after it was sent: run this again")

    def abort_uploads(self) -> int:
        """
        Abort multipart uploads that a killed run left behind, and return how many.

        Listing them needs a permission of its own. Without it, the store's lifecycle rule does it (docs/archive.md).
        """
        count = 0
        try:
            for page in self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.name):
                for upload in page.get("Uploads", []):
                    if (match := _KEY.match(upload["Key"])) and match["name"] in (DATA, LOG):
                        self.client.abort_multipart_upload(
                            Bucket=self.name, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        count += 1
        except (ClientError, BotoCoreError):
            return count
        return count


def server_time(response: dict[str, Any]) -> datetime:
    """Return the store's own time of an answer, so that no clock of ours is compared with it."""
    return parsedate_to_datetime(response["ResponseMetadata"]["HTTPHeaders"]["date"])
