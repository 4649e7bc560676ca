"""The Software Heritage deposit, from an environment of its own: its server, and the scheduler that it calls."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
import requests
import yaml

from tests.services.files import write_private
from tests.services.ports import free_port
from tests.services.postgresql import PostgreSQL, programs
from tests.services.process import Process

if TYPE_CHECKING:
    from typing_extensions import Self

ROOT = Path(__file__).parents[2]
SETTINGS = "swh.deposit.settings.production"
# The wheel's PostgreSQL has no uuid-ossp, which the scheduler's schema asks for this function alone.
UUID_FUNCTION = "CREATE FUNCTION uuid_generate_v4() RETURNS uuid LANGUAGE sql AS 'SELECT gen_random_uuid()'"
# Not `swh deposit admin user create`, which takes a password as an argument.
CREATE = """
import json, sys
from django import setup
setup()
from swh.deposit.models import DepositClient, DepositCollection
asked = json.load(sys.stdin)
collection, _ = DepositCollection.objects.get_or_create(name=asked["collection"])
if "username" in asked:
    client, _ = DepositClient.objects.get_or_create(username=asked["username"])
    client.set_password(asked["password"])
    client.collections = [collection.id]
    client.provider_url, client.domain = asked["provider_url"], asked["domain"]
    client.save()
"""
CHECK = """
import json, sys
from swh.deposit.loader.tasks import check_deposit
json.dump(check_deposit(sys.argv[1], sys.argv[2]), sys.stdout)
"""
#: Columns of table deposit that a loader into the archive would fill.
LOADED = {
    "swhid": "swh:1:dir:42a13fc721c8716ff695d0d62fc851d641f3a12b",
    "swhid_context": "swh:1:dir:42a13fc721c8716ff695d0d62fc851d641f3a12b;origin=https://example.com/software",
}


class DepositServer:
    """
    A server that runs as production's does, with its scheduler behind HTTP.

    No worker takes what is scheduled: ``check`` does the checker's work, and ``set_status`` says what a loader
    would have said, since there is no archive to load into.
    """

    platform = "production"
    user = "swhdeposit"

    def __init__(
        self,
        directory: Path,
        postgresql: PostgreSQL,
        venv: Path = ROOT / ".venv-deposit",
        *,
        address: str = "127.0.0.1",
    ):
        self.directory = directory
        self.address = address
        self.postgresql = postgresql
        self.binaries = venv / "bin"
        self.port, self.scheduler_port = free_port(), free_port()
        self.password, self.secret_key = secrets.token_urlsafe(24), secrets.token_urlsafe(32)
        suffix = uuid.uuid4().hex[:8]
        self.role = f"{self.user}-{suffix}"
        self.database, self.scheduler_database = f"swh-deposit-{suffix}", f"swh-scheduler-{suffix}"
        self.config_file = directory / "server.yml"
        self.scheduler_config_file = directory / "scheduler.yml"
        self.checker_config_file = directory / "checker.yml"
        self.media = directory / "uploads"
        #: The deposit's server, and the scheduler's. Each can be stopped and started again, on the same port.
        self.server = self._gunicorn("swh.deposit.wsgi", self.port, self.config_file)
        self.scheduler = self._gunicorn(
            "swh.scheduler.api.server:make_app_from_configfile()", self.scheduler_port, self.scheduler_config_file
        )

    @property
    def url(self) -> str:
        """The public API."""
        return f"http://{self.address}:{self.port}/1"

    @property
    def scheduler_url(self) -> str:
        return f"http://{self.address}:{self.scheduler_port}/"

    @property
    def configuration(self) -> dict[str, Any]:
        """What is in server.yml."""
        return {
            "max_upload_size": 10_000_000,
            "checks": True,
            "allowed_hosts": [self.address],
            "authentication_provider": "basic",
            "scheduler": {"cls": "remote", "url": self.scheduler_url},
            "storage": {"cls": "memory"},
            "storage_metadata": {"cls": "memory"},
            "swh_authority_url": "https://deposit.example.com/",
            "private": {
                "secret_key": self.secret_key,
                "db": {
                    "host": self.postgresql.host,
                    "port": self.postgresql.port,
                    "name": self.database,
                    "user": self.role,
                    "password": self.password,
                },
                "media_root": str(self.media),
            },
        }

    @property
    def pillar(self) -> dict[str, Any]:
        """Pillar ``deposit`` for this server."""
        return {
            "configuration_file": str(self.config_file),
            "bin_directory": str(self.binaries),
            "platform": self.platform,
            "url": self.url,
        }

    def write_configuration(self, path: Path, **changes: Any) -> Path:
        """Write another server.yml, 0600, in which top-level keys are changed. None removes one."""
        settings = {key: value for key, value in (self.configuration | changes).items() if value is not None}
        return write_private(path, yaml.safe_dump(settings))

    def private(self, **changes: Any) -> dict[str, Any]:
        """Return the part of server.yml that has the database, with other credentials."""
        private = self.configuration["private"]
        return {**private, "db": {**private["db"], **changes}}

    def connect(self, database: str = "") -> Any:
        """Return a psycopg2 connection of the deposit's role. Its caller closes it."""
        return self.postgresql.connect(dbname=database or self.database, user=self.role, password=self.password)

    def query(self, sql: str, *parameters: Any, database: str = "") -> list[dict[str, Any]]:
        """Run one statement, and return its rows."""
        connection = self.connect(database)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters)
                if cursor.description is None:
                    return []
                names = [column.name for column in cursor.description]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        finally:
            connection.close()

    def create_database(self) -> str:
        """Create another database of the deposit's role, with nothing in it, and return its name."""
        name = f"swh-deposit-{uuid.uuid4().hex[:8]}"
        self.postgresql.execute(f'CREATE DATABASE "{name}" OWNER "{self.role}"', dbname="postgres")
        return name

    def migrate(self, *arguments: str, config_file: Path | None = None) -> str:
        """Run Django's own migrations."""
        environment = {"SWH_CONFIG_FILENAME": str(config_file or self.config_file)}
        return self.run("django-admin", "migrate", f"--settings={SETTINGS}", *arguments, environment=environment)

    def create_collection(self, name: str) -> None:
        self._create({"collection": name})

    def create_client(self, username: str, password: str = "", *, collection: str = "") -> str:
        """Create a client, with a collection of its name, and return its password."""
        password = password or secrets.token_urlsafe(16)
        origins = {"provider_url": "https://example.com/", "domain": "example.com"}
        self._create({"collection": collection or username, "username": username, "password": password, **origins})
        return password

    def upload(self, username: str, password: str, *arguments: str, archive: Path | None = None) -> int:
        """Deposit a small archive, or another, with Software Heritage's own client, and return the deposit's id."""
        name = uuid.uuid4().hex
        options = ["--url", self.url, "--username", username, "--password", password, "--format", "json"]
        options += ["--archive", str(archive or self.make_archive(name)), "--name", name, "--author", "A. Author"]
        options += ["--create-origin", f"https://example.com/{name}"]
        answer = json.loads(self.run("swh", "deposit", "upload", *options, *arguments))
        if "deposit_id" not in answer:
            raise RuntimeError(f"the deposit was refused: {answer}")
        return int(answer["deposit_id"])

    def make_archive(self, name: str, content: str = "print('Hello')\n") -> Path:
        path = self.directory / f"{name}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("hello.py", content)
            archive.writestr("README", name)
        return path

    def check(self, identifier: int) -> dict[str, Any]:
        """Check a deposit as the checker's worker does, which sets it to verified or rejected."""
        [row] = self.query(
            "SELECT name FROM deposit JOIN deposit_collection c ON c.id = collection_id WHERE deposit.id = %s",
            identifier,
        )
        environment = {"SWH_CONFIG_FILENAME": str(self.checker_config_file)}
        return json.loads(
            self.run("python", "-c", CHECK, row["name"], str(identifier), environment=environment).splitlines()[-1]
        )

    def set_status(self, identifier: int, status: str, **columns: Any) -> None:
        """Set a deposit's status by SQL, for what only a loader into the archive sets, and other columns."""
        values = {"status": status, **columns}
        places = ", ".join(f"{name} = %s" for name in values)
        self.query(f"UPDATE deposit SET {places} WHERE id = %s", *values.values(), identifier)

    def end_task(self, identifier: int, status: str = "completed") -> None:
        """Set the status of a deposit's loading task, as the scheduler does when the loader has ended."""
        task = self.deposit(identifier)["load_task_id"]
        self.query(
            "UPDATE task SET status = %s, next_run = now() - interval '1 day' WHERE id = %s",
            status,
            int(task),
            database=self.scheduler_database,
        )

    def load(self, identifier: int, status: str = "done") -> None:
        """Set a deposit to done or failed, and its task to its end, as a loader and the scheduler would have done."""
        self.set_status(identifier, status, **(LOADED if status == "done" else {}))
        self.end_task(identifier, "completed" if status == "done" else "disabled")

    def deposit(self, identifier: int) -> dict[str, Any]:
        """Return a deposit's row."""
        [row] = self.query("SELECT * FROM deposit WHERE id = %s", identifier)
        return row

    def task(self, identifier: int) -> dict[str, Any]:
        """Return the scheduler's row of a deposit's loading task."""
        task = self.deposit(identifier)["load_task_id"]
        [row] = self.query("SELECT * FROM task WHERE id = %s", int(task), database=self.scheduler_database)
        return row

    def run(self, program: str, *arguments: str, environment: dict[str, str] | None = None, text: str = "") -> str:
        """Run a program of the server's environment, and return what it prints."""
        result = subprocess.run(
            [self.binaries / program, *arguments],
            cwd=self.directory,
            env=self._environment(environment or {}),
            input=text,
            capture_output=True,
            text=True,
        )
        if result.returncode:
            raise RuntimeError(f"{program} {arguments[0]} ended with {result.returncode}: {result.stderr[-2000:]}")
        return result.stdout

    def start_server(self) -> None:
        self.server.start(lambda: requests.get(self.url + "/servicedocument/", timeout=5))

    def start_scheduler(self) -> None:
        self.scheduler.start(lambda: requests.get(self.scheduler_url, timeout=5).raise_for_status())

    @contextmanager
    def scheduler_down(self) -> Iterator[None]:
        """Let nothing answer at the scheduler's address for a while."""
        self.scheduler.stop()
        try:
            yield
        finally:
            self.start_scheduler()

    def start(self) -> None:
        self.media.mkdir(parents=True, exist_ok=True)
        self._create_databases()
        self._write_configurations()
        self.migrate()
        self._initialize_scheduler()
        self.start_scheduler()
        self.start_server()

    def stop(self) -> None:
        self.server.stop()
        self.scheduler.stop()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _gunicorn(self, application: str, port: int, config_file: Path) -> Process:
        argv = [
            self.binaries / "gunicorn",
            "--bind",
            f"{self.address}:{port}",
            "--threads",
            "4",
            "--no-control-socket",
        ]
        environment = {"SWH_CONFIG_FILENAME": str(config_file)}
        if "wsgi" in application:
            application = "django.core.wsgi:get_wsgi_application()"
            environment["DJANGO_SETTINGS_MODULE"] = SETTINGS
        log = self.directory / f"{config_file.stem}.log"
        return Process([*argv, application], log, env=environment, cwd=self.directory)

    def _create_databases(self) -> None:
        create_role = f"""CREATE ROLE "{self.role}" LOGIN PASSWORD %s"""
        self.postgresql.execute(create_role, (self.password,), dbname="postgres")
        for name in (self.database, self.scheduler_database):
            self.postgresql.execute(f'CREATE DATABASE "{name}" OWNER "{self.role}"', dbname="postgres")

    def _write_configurations(self) -> None:
        write_private(self.config_file, yaml.safe_dump(self.configuration))
        self.config_file.chmod(0o640)
        scheduler = {"scheduler": {"cls": "postgresql", "db": self._dsn(self.scheduler_database)}}
        write_private(self.scheduler_config_file, yaml.safe_dump(scheduler))
        checker = {"deposit": {"url": f"http://{self.address}:{self.port}/1/private/"}, "celery": {"task_modules": []}}
        write_private(self.checker_config_file, yaml.safe_dump(checker))

    def _dsn(self, database: str) -> str:
        password = write_private(self.directory / "pgpass", f"*:*:*:{self.role}:{self.password}\n")
        keys = {"host": self.postgresql.host, "port": self.postgresql.port, "dbname": database, "user": self.role}
        return psycopg2.extensions.make_dsn(**keys, passfile=str(password))

    def _initialize_scheduler(self) -> None:
        """Create the scheduler's tables, and the types of the tasks that check and load a deposit."""
        connection = self.connect(self.scheduler_database)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(UUID_FUNCTION)
        finally:
            connection.close()
        environment = {"SWH_CONFIG_FILENAME": str(self.scheduler_config_file)}
        self.run("swh", "db", "init", "scheduler", environment=environment)
        plugins = ["-p", "swh.deposit", "-p", "loader.deposit"]
        arguments = ["scheduler", "task-type", "register"]
        self.run("swh", *arguments, *plugins, environment=environment)

    def _create(self, asked: dict[str, Any]) -> None:
        environment = {"SWH_CONFIG_FILENAME": str(self.config_file), "DJANGO_SETTINGS_MODULE": SETTINGS}
        self.run("python", "-c", CREATE, environment=environment, text=json.dumps(asked))

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        path = os.pathsep.join([str(self.binaries), str(programs()), os.environ["PATH"]])
        return {**os.environ, "PATH": path, **more}
