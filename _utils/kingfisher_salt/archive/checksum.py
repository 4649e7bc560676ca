"""The checksum of a crawl."""

from __future__ import annotations

import xxhash

from .crawl import JOB_FILES


class Checksum:
    """
    XXH3-128 over the bytes of a crawl's files, in the order of ``os.walk`` with directories and files sorted.

    It is summed up twice: over all files, as kingfisher-archive did, and over the data alone. Kingfisher Collect
    writes a job's id among the data, which makes every crawl look different from the one before.
    """

    def __init__(self) -> None:
        self._all = xxhash.xxh3_128()
        self._data = xxhash.xxh3_128()
        #: How many bytes there are in all files.
        self.bytes = 0
        #: How many of them are data.
        self.data_bytes = 0

    def update(self, path: str, content: bytes) -> None:
        """Add some of the content of a file, whose path is relative to the crawl directory."""
        self._all.update(content)
        self.bytes += len(content)
        if path not in JOB_FILES:
            self._data.update(content)
            self.data_bytes += len(content)

    @property
    def all(self) -> str:
        """The checksum of all files, as hexadecimal digits."""
        return self._all.hexdigest()

    @property
    def data(self) -> str:
        """The checksum of the data, as hexadecimal digits."""
        return self._data.hexdigest()
