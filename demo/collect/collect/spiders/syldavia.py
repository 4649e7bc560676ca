from collect.spiders.base import BaseSpider


class Syldavia(BaseSpider):
    """A source that grows, with some errors."""

    name = "syldavia"
    yields_errors = True
