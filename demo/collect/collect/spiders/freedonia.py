from collect.spiders.base import BaseSpider


class Freedonia(BaseSpider):
    """A source whose crawls are closed before they are finished."""

    name = "freedonia"
    custom_settings = {"CLOSESPIDER_ITEMCOUNT": 3, "CONCURRENT_REQUESTS": 1, "DOWNLOAD_DELAY": 0.05}
