# ruff: noqa: ANN001, ANN002, ANN003, ANN201 - in the way of Scrapy projects
"""What the spiders share."""

import asyncio
import os
from datetime import datetime

import scrapy


class BaseSpider(scrapy.Spider):
    """Makes up pages, each with two releases."""

    def __init__(self, *args, crawl_time=None, table_name=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.crawl_time = datetime.fromisoformat(crawl_time)
        self.table_name = table_name
        self.logger.info("Spider arguments: %r", {"crawl_time": crawl_time, "table_name": table_name, **kwargs})

    async def start(self):
        first, pages = self.settings.getint("PAGE_FIRST"), self.settings.getint("PAGES")
        for page in range(first, first + pages):
            gate = self.settings["WAIT_FOR"]
            while gate and page == first + pages - 1 and not os.path.exists(gate):  # noqa: ASYNC110, ASYNC240, PTH110
                await asyncio.sleep(0.05)
            yield self.page(page)

    def page(self, page):
        releases = [
            {
                "ocid": f"ocds-000000-{page}-{number}",
                "date": f"2025-05-{page:02}T00:00:00Z",
                "tag": ["compiled"],
                "note": "100 % \"quoted\", 'quoted', \\ and é\n",
            }
            for number in range(2)
        ]
        return {"file_name": f"page-{page}.json", "data_type": "release_package", "releases": releases}
