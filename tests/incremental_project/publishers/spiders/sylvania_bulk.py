from publishers.spiders.base import BaseSpider


class SylvaniaBulk(BaseSpider):
    """Another publisher that answers."""

    name = "sylvania_bulk"
