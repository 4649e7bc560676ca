"""The spiders."""

# In the way of Scrapy projects:
# ruff: noqa: ANN001, ANN002, ANN003, ANN201

import signal
import time
from pathlib import Path

import scrapy


class Pages(scrapy.Spider):
    """Retrieves pages, one after the other, and writes the number of each to the file ``out``."""

    name = "quick"
    seconds = 0.0  # between pages

    def __init__(self, *args, pages="3", out=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.pages = int(pages)
        self.out = Path(out) if out else None
        self.tell({"pages": pages, "out": out, **kwargs})

    def tell(self, arguments):
        """Do as Kingfisher Collect's spiders do."""
        self.logger.info("Spider arguments: %r", arguments)

    async def start(self):
        for number in range(1, self.pages + 1):
            yield scrapy.Request(f"data:,{number}", priority=-number)

    def parse(self, response):
        if self.out:
            with self.out.open("a") as file:
                file.write(f"{response.text}\n")
        if response.text != str(self.pages):
            time.sleep(self.seconds)
        yield {"number": response.text}


class Slow(Pages):
    """Takes a while."""

    name = "slow"
    seconds = 0.2

    def __init__(self, *args, pages="1000", **kwargs):
        super().__init__(*args, pages=pages, **kwargs)


class Silent(Slow):
    """Takes a while, and does not tell its arguments."""

    name = "silent"

    def tell(self, arguments):
        """Do as other spiders do."""


class Failing(Pages):
    """Fails on each page."""

    name = "failing"

    def parse(self, response):
        raise ValueError(f"page {response.text} is broken")


class Stubborn(Slow):
    """Ignores signals, once it has begun."""

    name = "stubborn"

    def parse(self, response):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        yield from super().parse(response)
