"""metadata.json: what an archive says of itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .checksum import Checksum
from .decision import Facts, Period

#: The keys that kingfisher-archive wrote, which stay, and are never null.
KEYS = {
    "id": str,
    "source_id": str,
    "data_version": str,
    "bytes": int,
    "checksum": str,
    "files_count": int,
    "errors_count": int,
    "reject_reason": str,
    "archived": bool,
}


@dataclass(frozen=True)
class Stored:
    """An object as it was sent: what the store must report of it."""

    size: int
    #: CRC-32 of the whole object, as eight hexadecimal digits.
    crc32: str
    #: The entity tag that S3 makes of MD5 sums, if they were computed.
    etag: str | None = None

    def asdict(self) -> dict[str, Any]:
        return {"size": self.size, "crc32": self.crc32}


@dataclass(frozen=True)
class Packed:
    """What is in an archive."""

    files: int
    members: int
    checksum: Checksum


def dump(crawl_id: str, packed: Packed, files: int, errors: int, data: Stored, log: Stored) -> bytes:
    """Return metadata.json of an archive. The same crawl gives the same bytes, whoever archives it and when."""
    source_id, data_version = crawl_id.split("/")
    return _json(
        {
            "id": crawl_id,
            "source_id": source_id,
            "data_version": data_version,
            "bytes": packed.checksum.bytes,
            "checksum": packed.checksum.all,
            "files_count": files,
            "errors_count": errors,
            "reject_reason": "",
            "archived": True,
            **describe(packed, data),
            "log": log.asdict(),
        }
    )


def describe(packed: Packed, data: Stored) -> dict[str, Any]:
    """Return what is added to kingfisher-archive's keys about ``data.tar.lz4`` and what is in it."""
    return {
        "data_bytes": packed.checksum.data_bytes,
        "data_checksum": packed.checksum.data,
        "data": {**data.asdict(), "members": packed.members, "files": packed.files},
    }


def complete(document: Mapping[str, Any], **found: Any) -> bytes:
    """Return metadata.json with what was found in place of nulls and of keys that are not there."""
    values = {key: value for key, value in document.items() if value is not None}
    return _json({**found, **values})


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode() + b"\n"


def parse(content: bytes) -> dict[str, Any] | None:
    """Return the JSON object in metadata.json, or None if it is no JSON object."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def missing(document: Mapping[str, Any]) -> list[str]:
    """Return the keys that are absent, null or of another type."""
    return [
        key
        for key, kind in KEYS.items()
        if not isinstance(document.get(key), kind) or (kind is int and isinstance(document[key], bool))
    ]


def facts(document: Mapping[str, Any], period: Period) -> Facts:
    """Return what is compared of an archive whose metadata.json is complete."""
    return Facts(
        id=document["id"],
        period=period,
        bytes=document["bytes"],
        files=document["files_count"],
        errors=document["errors_count"],
        # kingfisher-archive did not tell them apart.
        data_bytes=document.get("data_bytes", document["bytes"]),
        data_checksum=constant(document.get("data_checksum", document["checksum"])),
    )


def stored(document: Mapping[str, Any], name: str) -> Stored | None:
    """Return what metadata.json says of ``data`` or ``log``, or None: kingfisher-archive's says nothing of them."""
    entry = document.get(name)
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("size"), int)
        or not isinstance(entry.get("crc32"), str)
    ):
        return None
    return Stored(entry["size"], entry["crc32"])


def constant(value: str) -> Callable[[], str]:
    return lambda: value
