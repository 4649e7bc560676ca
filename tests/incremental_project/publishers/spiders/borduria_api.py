# ruff: noqa: ANN001, ANN201 - in the way of Scrapy projects
from scrapy.exceptions import CloseSpider

from publishers.spiders.base import BaseSpider


class BorduriaApi(BaseSpider):
    """A publisher that fails after a page."""

    name = "borduria_api"

    def page(self, page):
        if page > 1:
            raise CloseSpider("publisher_failed")
        return super().page(page)
