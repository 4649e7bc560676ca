from collect.spiders.base import BaseSpider


class Borduria(BaseSpider):
    """A source with more errors than files."""

    name = "borduria"
