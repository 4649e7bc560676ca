"""What the bucket holds of each source and month, as far as decisions need it."""

from __future__ import annotations

import tempfile
from typing import Any

from ..errors import StoreError
from ..scrapy_log import read_log
from . import metadata, replacing, unpack
from .bucket import DATA, LOG, METADATA, REPLACING, Archive, Bucket
from .cache import Cache
from .commit import LABEL
from .decision import Facts, Period


class Remote:
    """
    The archives of some sources, from one listing. metadata.json is read when it is first needed.

    With ``read_only``, what kingfisher-archive left incomplete is completed in memory alone.
    """

    def __init__(self, bucket: Bucket, cache: Cache, sources: set[str] | None, *, read_only: bool) -> None:
        self._bucket = bucket
        self._cache = cache
        self._read_only = read_only
        self._archives = bucket.archives(sources)
        self._documents: dict[str, dict[str, Any] | None] = {}
        self._whole: dict[str, bool] = {}

    def archive(self, source_id: str, period: Period) -> Archive:
        return self._archives.get(source_id, {}).get(period) or Archive(source_id, period)

    def interrupted(self, source_id: str) -> list[Archive]:
        """Return the archives whose replacement was begun."""
        return [a for a in self._archives.get(source_id, {}).values() if REPLACING in a.objects]

    def recover(self, archive: Archive) -> None:
        """Publish what an interrupted replacement left whole."""
        replacing.finish(self._bucket, archive)
        self.refresh(archive)

    def refresh(self, archive: Archive) -> None:
        """List a month again."""
        self._documents.pop(archive.prefix, None)
        now = self._bucket.archive(archive.source_id, archive.period)
        self._archives.setdefault(archive.source_id, {})[archive.period] = now

    def latest_before(self, source_id: str, period: Period) -> Facts | None:
        """Return the latest archive of an earlier month."""
        for earlier in sorted((p for p in self._archives.get(source_id, {}) if p < period), reverse=True):
            if found := self.facts(source_id, earlier):
                return found
        return None

    def facts(self, source_id: str, period: Period) -> Facts | None:
        """Return what is compared of an archive, if there is one."""
        document = self.document(self.archive(source_id, period))
        return metadata.facts(document, period) if document else None

    def document(self, archive: Archive) -> dict[str, Any] | None:
        """
        Return the complete metadata.json of an archive, or None if there is no archive.

        :raises StoreError: if there is one that neither we nor kingfisher-archive finished
        """
        if archive.prefix not in self._documents:
            self._documents[archive.prefix] = self._document(archive)
        return self._documents[archive.prefix]

    def whole(self, archive: Archive) -> bool:
        """Return whether the bucket holds what :meth:`document` describes."""
        return self._whole.get(archive.prefix, True)

    def _document(self, archive: Archive) -> dict[str, Any] | None:
        if archive.published:
            return self._published(archive)
        if REPLACING in archive.objects and (state := replacing.examine(self._bucket, archive)):
            self._whole[archive.prefix] = state.whole
            return state.document
        for name in (DATA, LOG):
            if name in archive.objects:
                head = self._bucket.head(f"{archive.prefix}/{name}") or {"Metadata": {LABEL: ""}}
                if LABEL not in head["Metadata"]:
                    raise StoreError(
                        f"{archive.prefix}/{name} has no {METADATA} beside it and was not written by "
                        f"kingfisher.archive: have it completed by kingfisher.verify source={archive.source_id} "
                        "deep=True, or move it away"
                    )
        return None

    def _published(self, archive: Archive) -> dict[str, Any]:
        etag = archive.objects[METADATA][1]
        if known := self._cache.metadata(archive.prefix, etag):
            return known
        document = metadata.parse(self._bucket.get(f"{archive.prefix}/{METADATA}") or b"") or {}
        if metadata.missing(document):
            document = complete(self._bucket, archive, document, write=not self._read_only)
        else:
            self._cache.remember_metadata(archive.prefix, etag, document)
        return document


def complete(bucket: Bucket, archive: Archive, document: dict[str, Any], *, write: bool) -> dict[str, Any]:
    """
    Fill in what a metadata.json does not say, by reading its archive and log.

    :raises StoreError: if the archive is missing or damaged
    """
    if DATA not in archive.objects:
        raise StoreError(
            f"{archive.prefix}/{DATA} is not there, though {METADATA} describes it: restore it from a copy"
        )
    contents = unpack.read(lambda: bucket.open(f"{archive.prefix}/{DATA}"), f"{archive.prefix}/{DATA}")
    source_id, _, version = contents.crawl_id.partition("/")
    found: dict[str, Any] = {
        "id": contents.crawl_id,
        "source_id": source_id,
        "data_version": version,
        "bytes": contents.packed.bytes,
        "checksum": contents.packed.checksum,
        "files_count": contents.packed.files,
        "errors_count": 0,
        "reject_reason": "",
        "archived": True,
        "data": {**contents.stored.asdict(), "members": contents.packed.members, "files": contents.packed.files},
    }
    if LOG in archive.objects:
        found |= _from_log(bucket, archive)
    known = {key: value for key, value in document.items() if key not in metadata.missing(document)}
    content = metadata.complete(known, **found)
    if write:
        bucket.put(f"{archive.prefix}/{METADATA}", content)
    return metadata.parse(content) or {}


def _from_log(bucket: Bucket, archive: Archive) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile(prefix="kingfisher-") as file:
        counted = unpack.Counted(bucket.open(f"{archive.prefix}/{LOG}"), f"{archive.prefix}/{LOG}")
        for chunk in iter(lambda: counted.read(1 << 20), b""):
            file.write(chunk)
        file.flush()
        log = read_log(file.name)
    return {"files_count": log.files + log.file_items, "errors_count": log.errors, "log": counted.stored.asdict()}
