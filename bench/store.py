"""A real store for the measures, what one needs to use it, and how to count what is sent to it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from kingfisher_salt.archive import config
from kingfisher_salt.archive.bucket import connect as library_connect
from kingfisher_salt.archive.config import Config

from tests.services.seaweedfs import REGION, SeaweedFS

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Place:
    """A bucket, and how to get there."""

    endpoint_url: str
    access_key: str
    secret_key: str
    bucket: str
    region: str = REGION

    def asdict(self) -> dict[str, Any]:
        """Return it in a form that JSON can carry."""
        return asdict(self)


def connect(place: Place) -> Any:
    """Return a client with boto3's defaults."""
    return boto3.client(
        "s3",
        endpoint_url=place.endpoint_url,
        region_name=place.region,
        aws_access_key_id=place.access_key,
        aws_secret_access_key=place.secret_key,
    )


@contextlib.contextmanager
def bucket(directory: Path, name: str = "bench") -> Iterator[Place]:
    """Start a store with a bucket."""
    with SeaweedFS(directory) as server:
        place = Place(server.endpoint_url, server.access_key, server.secret_key, name)
        connect(place).create_bucket(Bucket=name)
        yield place


def settings(place: Place, root: Path, **more: Any) -> Config:
    """Return the library's settings for a bucket, and for crawls below a directory."""
    pillar = {
        "bucket": place.bucket,
        "data_directory": str(root / "data"),
        "logs_directory": str(root / "logs"),
        "cache_file": str(root / "cache.sqlite"),
        "lock_file": str(root / "lock"),
        "min_age_days": 0,
        "s3": {
            "endpoint_url": place.endpoint_url,
            "region": place.region,
            "access_key_id": place.access_key,
            "secret_access_key": place.secret_key,
        },
        **more,
    }
    found, problems = config.load(pillar, {})
    if found is None:
        raise SystemExit("\n".join(problems))
    return found


def counting(settings: Config) -> tuple[Any, Counter[str]]:
    """Return the client that the library would make, and a count of its requests by operation, retries included."""
    client = library_connect(settings.s3)
    count: Counter[str] = Counter()

    def add(event_name: str, **_: Any) -> None:
        count[event_name.rpartition(".")[2]] += 1

    client.meta.events.register("before-send.s3", add)
    return client, count


class Proxy:
    """A TCP proxy before a store, that counts the bytes that clients send, headers included."""

    def __init__(self, place: Place) -> None:
        self.sent = 0
        self._to = place.endpoint_url.rpartition(":")[2]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.place = replace(place, endpoint_url=f"http://127.0.0.1:{self._listener.getsockname()[1]}")

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", int(self._to)))
                for source, target, counted in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._copy, args=(source, target, counted), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 18):
                if counted:
                    self.sent += len(data)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
