from collect.spiders.base import BaseSpider


class Ruritania(BaseSpider):
    """A healthy source."""

    name = "ruritania"
