from publishers.spiders.base import BaseSpider


class FreedoniaApi(BaseSpider):
    """A publisher that answers."""

    name = "freedonia_api"
