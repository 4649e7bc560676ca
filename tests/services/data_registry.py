"""The stand-in for the Data Registry, in an environment of its own, and for the APIs that it calls."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from psycopg2.extras import Json

from tests.services.files import write_private
from tests.services.ports import free_port
from tests.services.postgresql import PostgreSQL
from tests.services.process import Process

if TYPE_CHECKING:
    from typing_extensions import Self

ROOT = Path(__file__).parents[2]
PROJECT = ROOT / "tests" / "data_registry_project"
PYTHON = ROOT / ".venv-data-registry" / "bin" / "python"
TASKS = ("collect", "process", "pelican", "exporter", "flattener")


class Api:
    """
    What Kingfisher Process and Pelican frontend answer to the Data Registry.

    They accept a deletion, and a worker of theirs carries it out: here at once, unless ``lazy``.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.collections: set[int] = set()
        self.datasets: dict[int, str] = {}
        self.lazy = False
        self.refusal: int | None = None
        #: Called with the path of each deletion, before it is accepted.
        self.on_delete: Callable[[str], None] = lambda _: None
        self.deleted: list[str] = []
        api = self

        class Handler(_Handler):
            owner = api

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{host}:{self._server.server_address[1]}"

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        parts = urlsplit(path)
        if parts.path == "/api/datasets/find_by_name/":
            name = parse_qs(parts.query)["name"][0]
            return 200, next(({"id": pk} for pk, known in self.datasets.items() if known == name), {})
        match = re.fullmatch(r"/api/(collections|datasets)/(\d+)/(\w+/)?", parts.path)
        if not match:
            return 404, None
        kind, pk = match[1], int(match[2])
        if method == "GET" and kind == "collections":
            tree = [{"id": pk, "transform_type": ""}, {"id": pk + 1, "transform_type": "compile-releases"}]
            return (200, tree) if pk in self.collections else (404, None)
        if method == "GET":
            return 200, {"phase": "CHECKED", "state": "OK"} if pk in self.datasets else {}
        self.on_delete(parts.path)
        if self.refusal:
            return self.refusal, None
        self.deleted.append(parts.path)
        if not self.lazy:
            self.collections.discard(pk) if kind == "collections" else self.datasets.pop(pk, None)
        return 202, None

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: Api

    def _any(self) -> None:
        status, body = self.owner.answer(self.command, self.path)
        self.send_response(status)
        self.end_headers()
        if body is not None:
            self.wfile.write(json.dumps(body).encode())

    do_GET = do_DELETE = _any  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


class DataRegistry:
    """An installation: a directory from which it is run, its database, and its exports."""

    def __init__(self, root: Path, postgresql: PostgreSQL, api: Api, *, rabbit_url: str, scrapyd_url: str, name: str):
        self.root = root
        self.postgresql = postgresql
        self.api = api
        self.name = name
        self.exports = root / "exports"
        self.exports.mkdir(parents=True)
        # An address at which nothing listens.
        self.closed = f"127.0.0.1:{free_port()}"
        self.settings: dict[str, Any] = {
            "database": {
                "HOST": postgresql.host,
                "PORT": postgresql.port,
                "USER": postgresql.user,
                "PASSWORD": postgresql.password,
                "NAME": name,
            },
            "rabbit_url": rabbit_url,
            "exchange": name,
            "scrapyd_url": f"{scrapyd_url}/",
            "scrapyd_project": "kingfisher",
            "process_url": api.url,
            "pelican_url": api.url,
            "exporter_directory": str(self.exports),
        }
        self.configure()
        self.pillar: dict[str, Any] = {
            "manage": [str(PYTHON), str(PROJECT / "manage.py")],
            "directory": str(root),
            "state_directory": str(root / "state"),
        }
        self._wiper = self.process("wiper")

    def configure(self, **settings: Any) -> None:
        """Write the settings, with others than before."""
        write_private(self.root / "settings.json", json.dumps(self.settings | settings))

    def process(self, *words: str) -> Process:
        return Process([PYTHON, PROJECT / "manage.py", *words], self.root / f"{words[0]}.log", cwd=self.root)

    def create(self) -> None:
        """Create the database, with its tables, and the queues of the workers."""
        self.postgresql.execute(f"CREATE DATABASE {self.name}", dbname="postgres")
        self.run("migrate", "--run-syncdb", "--verbosity=0")
        declare = "from exporter.util import declare; declare('exporter_init', 'flattener_init', 'wiper_init')"
        self.run("shell", "--command", declare)

    def run(self, *words: str) -> None:
        subprocess.run([PYTHON, PROJECT / "manage.py", *words], cwd=self.root, check=True, capture_output=True)

    def start_wiper(self) -> None:
        self._wiper.start(lambda: None)

    def stop_wiper(self) -> None:
        self._wiper.stop()

    def ask(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        connection = self.postgresql.connect(dbname=self.name)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def publication(self, source: str, *, frozen: bool = False) -> int:
        sql = (
            "INSERT INTO data_registry_collection (title, country, source_id, frozen, created, modified) "
            "VALUES (%s, '', %s, %s, now(), now()) RETURNING id"
        )
        return int(self.ask(sql, f"{source.title()} title", source, frozen)[0][0])

    def job(
        self,
        publication: int,
        *,
        status: str = "RUNNING",
        reached: str | None = "collect",
        hours: float = 1,
        context: dict[str, Any] | None = None,
    ) -> int:
        """Add a job whose task ``reached`` began so many hours ago, and is running. With None, none has begun."""
        pk = int(
            self.ask(
                "INSERT INTO data_registry_job (collection_id, status, context, created, modified) "
                "VALUES (%s, %s, %s, now() - %s * interval '1 hour', now()) RETURNING id",
                publication,
                status,
                Json(context or {}),
                hours,
            )[0][0]
        )
        at = TASKS.index(reached) if reached else -1
        for order, kind in enumerate(TASKS):
            began = order <= at
            self.ask(
                "INSERT INTO data_registry_task "
                '(job_id, type, "order", status, result, note, start, created, modified) '
                "VALUES (%s, %s, %s, %s, '', '', CASE WHEN %s THEN now() - %s * interval '1 hour' END, now(), now())",
                pk,
                kind,
                order + 1,
                "COMPLETED" if order < at or status == "COMPLETED" else "RUNNING" if began else "PLANNED",
                began,
                hours,
            )
        return pk

    def jobs(self) -> list[int]:
        return [row[0] for row in self.ask("SELECT id FROM data_registry_job ORDER BY id")]

    def tasks(self, job: int) -> dict[str, str]:
        return dict(self.ask('SELECT type, status FROM data_registry_task WHERE job_id = %s ORDER BY "order"', job))

    def export(self, job: int, *names: str) -> Path:
        """Put files into a job's directory."""
        directory = self.exports / str(job)
        directory.mkdir(exist_ok=True)
        for name in names:
            (directory / name).write_text("x")
        return directory
