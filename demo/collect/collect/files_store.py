"""Files in the directory layout of Kingfisher Collect."""

import zlib
from pathlib import Path

from scrapy import signals
from scrapy.exceptions import NotConfigured

from collect.items import File


class FilesStore:
    """Writes ``SOURCE[_sample]/YYYYMMDD_HHMMSS/`` with ``scrapyd-job.txt`` and ``HHH/FILE``."""

    def __init__(self, directory):
        self.directory = Path(directory)

    @classmethod
    def from_crawler(cls, crawler):
        if not crawler.settings["FILES_STORE"]:
            raise NotConfigured("FILES_STORE is not set.")
        extension = cls(crawler.settings["FILES_STORE"])
        crawler.signals.connect(extension.spider_opened, signal=signals.spider_opened)
        crawler.signals.connect(extension.item_scraped, signal=signals.item_scraped)
        return extension

    def crawl_directory(self, spider):
        source = f"{spider.name}_sample" if spider.sample else spider.name
        return self.directory / source / spider.start_time.strftime("%Y%m%d_%H%M%S")

    def spider_opened(self, spider):
        job = getattr(spider, "_job", None)  # set by Scrapyd
        if job:
            self._write(self.crawl_directory(spider) / "scrapyd-job.txt", job.encode())

    def item_scraped(self, item, spider):
        if isinstance(item, File):
            # 4096 subdirectories at most, by the file's name.
            subdirectory = f"{zlib.adler32(item.file_name.encode()) % 0x1000:03X}"
            self._write(self.crawl_directory(spider) / subdirectory / item.file_name, item.data)

    def _write(self, path, data):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
