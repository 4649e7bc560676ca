"""What the bucket holds of each source and month, as far as decisions need it."""

from __future__ import annotations

from typing import Any, BinaryIO, cast

from ..errors import StoreError
from ..scrapy_log import read_stream
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
        self._stale: set[str] = set()

    @property
    def sources(self) -> set[str]:
        """The sources that have archives."""
        return set(self._archives)

    def archive(self, source_id: str, period: Period) -> Archive:
        """
        Return what the bucket lists of a source and month.

        :raises StoreError: if that is not known any more, and the bucket does not answer
        """
        found = self._archives.get(source_id, {}).get(period) or Archive(source_id, period)
        if found.prefix in self._stale:
            found = self._bucket.archive(source_id, period)
            self._archives[source_id][period] = found
            self._stale.discard(found.prefix)
        return found

    def interrupted(self) -> list[Archive]:
        """Return the archives whose replacement was begun."""
        return [a for months in self._archives.values() for a in months.values() if REPLACING in a.objects]

    def recover(self, archive: Archive) -> bool:
        """Publish what an interrupted replacement left whole, and return whether anything was."""
        try:
            return replacing.finish(self._bucket, archive)
        finally:
            self.refresh(archive.source_id, archive.period)

    def refresh(self, source_id: str, period: Period) -> None:
        """Ask the bucket again once a month is needed next, because it was written to."""
        archive = Archive(source_id, period)
        self._documents.pop(archive.prefix, None)
        self._whole.pop(archive.prefix, None)
        self._archives.setdefault(source_id, {})[period] = archive
        self._stale.add(archive.prefix)

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
        "bytes": contents.packed.checksum.bytes,
        "checksum": contents.packed.checksum.all,
        "files_count": contents.packed.files,
        "errors_count": 0,
        "reject_reason": "",
        "archived": True,
        **metadata.describe(contents.packed, contents.stored),
    }
    if LOG in archive.objects:
        found |= _from_log(bucket, archive)
    wrong = {*metadata.missing(document), *(name for name in ("data", "log") if not metadata.stored(document, name))}
    known = {key: value for key, value in document.items() if key not in wrong}
    content = metadata.complete(known, **found)
    if write:
        bucket.put(f"{archive.prefix}/{METADATA}", content)
    return metadata.parse(content) or {}


def _from_log(bucket: Bucket, archive: Archive) -> dict[str, Any]:
    counted = unpack.Counted(bucket.open(f"{archive.prefix}/{LOG}"), f"{archive.prefix}/{LOG}")
    log = read_stream(cast("BinaryIO", counted))
    return {"files_count": log.files + log.file_items, "errors_count": log.errors, "log": counted.stored.asdict()}
