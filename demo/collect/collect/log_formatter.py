"""Log lines without the files' content."""

import scrapy.logformatter


class LogFormatter(scrapy.logformatter.LogFormatter):
    """Logs an item as a dict, without its data."""

    def scraped(self, item, response, spider):
        shown = {key: value for key, value in vars(item).items() if key != "data"}
        return super().scraped(shown, response, spider)
