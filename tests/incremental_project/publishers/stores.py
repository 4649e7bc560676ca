# ruff: noqa: ANN001, ANN002, ANN201, ANN206 - in the way of Scrapy projects
"""Extensions that store to files and to PostgreSQL, in the order and the places of Kingfisher Collect's."""

import json
from pathlib import Path

import psycopg2
from psycopg2 import sql
from scrapy import signals


class Store:
    """What the stores share: where a crawl's data is."""

    def __init__(self, crawler):
        self.settings = crawler.settings
        for name in ("spider_opened", "item_scraped", "spider_closed"):
            if handler := getattr(self, name, None):
                crawler.signals.connect(handler, signal=getattr(signals, name))

    @classmethod
    def from_crawler(cls, crawler):
        return cls(crawler)

    def directory(self, spider):
        return Path(self.settings["FILES_STORE"], spider.name, spider.crawl_time.strftime("%Y%m%d_%H%M%S"))


class FilesStore(Store):
    """Writes each item to a file."""

    def item_scraped(self, item, spider):
        path = self.directory(spider) / "0A1" / item["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"releases": item["releases"]}), encoding="utf-8")


class DatabaseStore(Store):
    """Drops, creates and fills the table from the crawl directory, if the crawl finished."""

    def spider_opened(self, spider):
        self.execute("CREATE TABLE IF NOT EXISTS {table} (data jsonb)", spider)

    def spider_closed(self, spider, reason):
        if reason != "finished":
            return
        if self.settings.getbool("BREAK_STORE"):
            raise RuntimeError("the table cannot be stored")
        releases = [
            json.dumps(release)
            for path in sorted(self.directory(spider).rglob("*.json"))
            for release in json.loads(path.read_text(encoding="utf-8"))["releases"]
        ]
        releases = releases[self.settings.getint("DROP_ROWS") :]
        self.execute("DROP TABLE {table}; CREATE TABLE {table} (data jsonb)", spider)
        self.execute("INSERT INTO {table} SELECT unnest(%s)::jsonb", spider, releases)

    def execute(self, statement, spider, *parameters):
        connection = psycopg2.connect(self.settings["DATABASE_URL"])
        try:
            with connection, connection.cursor() as cursor:
                table = sql.Identifier(spider.table_name or spider.name)
                cursor.execute(sql.SQL(statement).format(table=table), parameters or None)
        finally:
            connection.close()
