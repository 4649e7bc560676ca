"""
A local publisher of procurement data, over HTTP.

What it answers depends on the source, month and page only, so that a crawl of the same month is the same bytes.
``/SOURCE/YYYY-MM.json`` lists the URLs of the month's pages. Each page is a release package.
"""

from __future__ import annotations

import json
import random
import re
import threading
from dataclasses import dataclass
from datetime import date, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

RELEASES_PER_PAGE = 40
PATH = re.compile(r"/(?P<source>[a-z_]+)/(?P<month>\d{4}-\d\d)(?:/(?P<page>\d+))?\.json")


@dataclass(frozen=True)
class Source:
    """How a source behaves."""

    pages: int
    failing: int = 0  # how many of the pages answer 503
    growth: int = 0  # how many pages each month adds
    until: str = "9999-12"  # the last month with something new

    def month(self, month: str) -> str:
        """Return the month whose data is published in a month."""
        return min(month, self.until)

    def count(self, month: str) -> int:
        year, number = map(int, self.month(month).split("-"))
        return self.pages + self.growth * (year * 12 + number - 2025 * 12 - 11)


SOURCES = {
    "ruritania": Source(pages=24, until="2025-12"),
    "syldavia": Source(pages=12, failing=2, growth=4),
    "borduria": Source(pages=8, failing=6),
    "freedonia": Source(pages=16),
}


def release_package(source: str, month: str, page: int) -> dict[str, Any]:
    """Return a page of a month's data: the same, whenever it is asked for."""
    chance = random.Random(f"{source} {month} {page}")
    first = date.fromisoformat(f"{month}-01")
    releases = []
    for number in range(RELEASES_PER_PAGE):
        ocid = f"ocds-{source[:6]}-{month}-{page:03}-{number:03}"
        day = first + timedelta(days=chance.randrange(28))
        amount = round(chance.lognormvariate(10, 2), 2)
        releases.append(
            {
                "ocid": ocid,
                "id": f"{ocid}-tender",
                "date": f"{day}T09:00:00Z",
                "tag": ["tender"],
                "initiationType": "tender",
                "buyer": {"id": f"B-{chance.randrange(50)}", "name": f"Ministry No. {chance.randrange(50)}"},
                "tender": {
                    "id": ocid,
                    "title": f"Supply of {chance.randrange(1, 500)} {chance.choice(['bridges', 'books', 'beds'])}",
                    "value": {"amount": amount, "currency": "XXX"},
                },
            }
        )
    return {
        "uri": f"https://{source}.example/{month}/{page}.json",
        "version": "1.1",
        "publishedDate": f"{first}T00:00:00Z",
        "publisher": {"name": source.capitalize()},
        "releases": releases,
    }


class Handler(BaseHTTPRequestHandler):
    """Answers GET."""

    def do_GET(self) -> None:
        match = PATH.fullmatch(self.path)
        if match is None or match["source"] not in SOURCES:
            self._answer(HTTPStatus.NOT_FOUND, {"error": "no such page"})
            return
        source = SOURCES[match["source"]]
        if match["page"] is None:
            pages = range(1, source.count(match["month"]) + 1)
            self._answer(HTTPStatus.OK, {"pages": [f"{self.path[: -len('.json')]}/{page}.json" for page in pages]})
        elif int(match["page"]) <= source.failing:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": "come back later"})
        else:
            month = source.month(match["month"])
            self._answer(HTTPStatus.OK, release_package(match["source"], month, int(match["page"])))

    def _answer(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the crawls' own logs say it."""


class Publisher:
    """The server, in a thread of this process, on a free port."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._server = ThreadingHTTPServer((address, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://{self._server.server_address[0]}:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
