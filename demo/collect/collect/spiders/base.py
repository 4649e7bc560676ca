"""What the spiders share."""

from datetime import datetime

import scrapy
from scrapy.exceptions import CloseSpider

from collect.items import File, FileError


class BaseSpider(scrapy.Spider):
    """Retrieves each page that the publisher lists for the month of the crawl."""

    # Whether a page that fails is a FileError item, as it was before 2024, or a line in the log.
    yields_errors = False

    def __init__(self, *args, sample=None, from_date=None, crawl_time=None, note=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.sample = int(sample) if sample else None
        self.from_date = from_date
        self.crawl_time = crawl_time
        self.scraped = 0
        arguments = {"sample": sample, "note": note, "from_date": from_date, "crawl_time": crawl_time}
        self.logger.info("Spider arguments: %r", arguments | kwargs)

    @property
    def start_time(self):
        if self.crawl_time:
            return datetime.fromisoformat(self.crawl_time)
        return self.crawler.stats.get_value("start_time")

    async def start(self):
        url = f"{self.settings['PUBLISHER_URL']}/{self.name}/{self.start_time:%Y-%m}.json"
        yield scrapy.Request(url, callback=self.parse_list)

    def parse_list(self, response):
        pages = response.json()["pages"]
        if self.from_date:
            pages = pages[len(pages) // 2 :]  # the publisher's pages are in order of date
        for page in pages[: self.sample]:
            name = f"page-{int(page.rpartition('/')[2].removesuffix('.json')):03}.json"
            yield response.follow(page, callback=self.parse_page, cb_kwargs={"file_name": name})

    def parse_page(self, response, file_name):
        if response.status == 200:
            yield File(file_name, response.url, "release_package", response.body)
            self.scraped += 1
            if self.scraped == self.sample:
                raise CloseSpider("sample")
        elif self.yields_errors:
            yield FileError(file_name, response.url, {"http_code": response.status})
        else:
            self.logger.error(
                "status=%d message=%r request=%s file_name=%s", response.status, "", response.request, file_name
            )
