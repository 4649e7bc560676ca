"""A host with the Data Registry, Kingfisher Process and Pelican backend as Docker applications."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg2

from tests.applications import PelicanApp, ProcessApp
from tests.fleet import network
from tests.fleet.hosts import FailedError
from tests.functional.scrapyd_server import PROJECT, Server
from tests.services.data_registry import DataRegistry

if TYPE_CHECKING:
    from tests.fleet.hosts import Host
    from tests.fleet.salt_master import Master
    from tests.services.data_registry import Api

ROOT = Path(__file__).parents[2]
UID = 1002
EXPORTS = "/data/storage/exporter"
EXCHANGE = "data_registry_production"
#: In whatever a server keeps secret, and nowhere else.
HIDDEN = "h1dden"
PASSWORDS = {name: f"{HIDDEN}/{name}" for name in ("data_registry", "kingfisher_process", "pelican_backend", "rabbit")}
IMAGE = "apps:local"
#: The other applications only run commands here: their workers are not of these tests.
COMMANDS = """\
services:
  cron:
    image: {{ entry.images.django | json }}
    env_file: .env
    user: "{{ pillar.docker.uid }}:{{ pillar.docker.uid }}"
    working_dir: {{ entry.working_directory | json }}
    extra_hosts: ["host.docker.internal:host-gateway"]
    volumes: ["/srv/collect:/data"]
    profiles: [cron]
"""
INSTALL = "/opt/salt/bin/pip install --quiet --disable-pip-version-check --target /srv/packages -r /srv/apps.txt"
# An image of the host's own Python and its libraries.
MAKE = f"""
set -eu
mkdir --parents /srv/bin; ln --symbolic --force /usr/bin/python3 /srv/bin/python
chmod -R go+rX /srv
tar --create --directory / --exclude '*.a' --exclude __pycache__ --exclude 'lib*-linux-gnu/perl*' --exclude gcc \\
    bin lib lib64 etc/ssl usr/bin/env usr/bin/python3 usr/bin/python3.13 usr/lib/python3.13 usr/lib/x86_64-linux-gnu \\
    usr/lib64 usr/share/zoneinfo srv/bin srv/packages srv/tests |
docker import --change 'ENV PYTHONPATH=/srv/packages PYTHONUNBUFFERED=1 PATH=/srv/bin:/usr/bin' \\
    --change 'WORKDIR /srv/tests/data_registry_project' --change 'STOPSIGNAL SIGKILL' \\
    --change 'CMD ["python", "-m", "http.server", "8000", "--directory", "/etc/ssl"]' - {IMAGE} >/dev/null
"""


class Scrapyd(Server):
    """A Scrapyd on this machine, for hosts."""

    def __init__(self, directory: Path):
        super().__init__(directory, bind_address=network.GATEWAY)

    @property
    def url(self) -> str:
        return f"http://{network.GATEWAY}:{self.port}"


class Database:
    """A database of the host, as its owner uses it."""

    port = 5432

    def __init__(self, host: Host, user: str):
        self.host, self.user, self.password = host.address, user, PASSWORDS[user]

    def connect(self, *, dbname: str) -> Any:
        return psycopg2.connect(
            host=self.host, port=self.port, user=self.user, password=self.password, dbname=dbname, connect_timeout=5
        )

    def execute(self, sql: str, parameters: tuple[Any, ...] = (), *, dbname: str) -> None:
        connection = self.connect(dbname=dbname)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(sql, parameters)
        finally:
            connection.close()


class Process(ProcessApp):
    """Kingfisher Process, whose database a state made."""

    def __init__(self, host: Host):
        self.postgresql, self.database = Database(host, "kingfisher_process"), "kingfisher_process"
        self.execute((ROOT / "tests/process_app/schema.sql").read_text())


class Pelican(PelicanApp):
    """Pelican backend, whose database a state made."""

    def __init__(self, host: Host):
        self.postgresql, self.database = Database(host, "pelican_backend"), "pelican_backend"
        self.execute((ROOT / "tests/pelican_app/schema.sql").read_text())


def pillar(scrapyd: Scrapyd, api: Api) -> dict[str, Any]:
    """Return the pillar of the host, which says of the Data Registry only what has no default."""
    users = ("data_registry", "kingfisher_process", "pelican_backend")
    urls = {
        name: f"postgresql://{name}:{quote(PASSWORDS[name], safe='')}@host.docker.internal:5432/{name}"
        for name in users
    }
    commands = {"source": "salt://commands.yaml", "images": {"django": IMAGE}, "pull": False, "service": "cron"}
    return {
        "postgres": {
            "public_access": True,
            "users": {name: {"password": PASSWORDS[name]} for name in users},
            "databases": {name: {"user": name} for name in users},
        },
        "rabbitmq": {
            # Else a machine with more memory than disk takes no message.
            "configuration": {"disk_free_limit.relative": "0.001"},
            "users": {"registry": {"password": PASSWORDS["rabbit"], "write": True, "tags": ["monitoring"]}},
        },
        "docker": {"user": "deployer", "uid": UID},
        "docker_apps": {
            "registry": {
                "target": "data-registry",
                "images": {"django": IMAGE, "static": IMAGE},
                "pull": False,
                "port": 8002,
                "host_dir": EXPORTS,
                "service": "cron",
                "migrate": "python manage.py migrate --run-syncdb",
                "health": {"url": "http://localhost:8002/"},
                "env": {
                    "DATABASE_URL": urls["data_registry"],
                    "RABBIT_URL": f"amqp://registry:{quote(PASSWORDS['rabbit'], safe='')}@host.docker.internal:5672",
                    "RABBIT_EXCHANGE_NAME": EXCHANGE,
                    "SCRAPYD_URL": f"{scrapyd.url}/",
                    "SCRAPYD_PROJECT": PROJECT,
                    "KINGFISHER_PROCESS_URL": api.url,
                    "PELICAN_FRONTEND_URL": api.url,
                },
            },
            "kingfisher_process": {
                **commands,
                "target": "kingfisher-process",
                "working_directory": "/srv/tests/process_app",
                "env": {"DATABASE_URL": urls["kingfisher_process"]},
            },
            "pelican_backend": {
                **commands,
                "target": "pelican-backend",
                "working_directory": "/srv/tests/pelican_app",
                "env": {"DATABASE_URL": urls["pelican_backend"]},
            },
        },
        "data_registry": {"public_url": "https://registry.example.com"},
        "kingfisher_process": {
            "database": {"password": PASSWORDS["kingfisher_process"]},
            "paths": {"/srv/collect": "/data"},
        },
        "pelican": {"database": {"password": PASSWORDS["pelican_backend"]}},
        "rabbitmq_queue": {"username": "registry", "password": PASSWORDS["rabbit"]},
        "scrapyd": {"url": scrapyd.url, "project": PROJECT},
    }


class RegistryHost:
    """The host, as tests talk to it. What it returned is kept, to look for secrets in it."""

    def __init__(self, host: Host, master: Master, scrapyd: Scrapyd, api: Api, directory: Path):
        self.host, self.master, self.scrapyd, self.api = host, master, scrapyd, api
        self.told: list[Any] = []
        (master.root / "states/commands.yaml").write_text(COMMANDS)
        master.set_pillar(host, pillar(scrapyd, api))
        master.accept(host)
        master.call(host, "saltutil.sync_all")  # which an apply of one SLS does not
        self._copy()
        with ThreadPoolExecutor() as pool:
            installed = pool.submit(host.run, INSTALL)
            self.apply("minion,postgres,rabbitmq,docker")
            installed.result()
        host.run(MAKE)
        self.apply("docker_apps")
        self.process, self.pelican = Process(host), Pelican(host)
        self.registry = DataRegistry(
            directory,
            Database(host, "data_registry"),
            api,
            rabbit_url="",
            scrapyd_url=scrapyd.url,
            name="data_registry",
        )
        self.registry.exports = host.root / EXPORTS.lstrip("/")

    def apply(self, sls: str) -> Any:
        applied = self.master.apply(self.host, sls)
        self.told.append(applied.states)
        return applied

    def call(self, function: str, *arguments: object) -> Any:
        """Run a function, which must not fail."""
        returned = self._call(function, *arguments)
        if isinstance(returned, str) and returned.startswith("ERROR"):
            raise FailedError(f"{function} {arguments}: {returned}")
        return returned

    def fails(self, function: str, *arguments: object) -> str:
        """Run a function that must fail, and return what it says, which is one sentence."""
        returned = self._call(function, *arguments)
        assert isinstance(returned, str) and returned.startswith("ERROR: "), returned
        assert "\n" not in returned.strip()
        return returned.removeprefix("ERROR: ")

    def _call(self, function: str, *arguments: object) -> Any:
        returned = self.master.call(self.host, function, *map(str, arguments), check=False)
        self.told.append(returned)
        return returned

    def messages(self, queue: str) -> list[Any]:
        """Return what waits in a queue of the Data Registry."""
        found = self.call("rabbitmq_queue.peek", f"{EXCHANGE}_{queue}")
        return [message["message"] for message in found["messages"]]

    def export(self, job: int, *names: str) -> Path:
        """Put files into a job's directory, as the application would."""
        directory = self.registry.export(job, *names)
        for path in (directory, *directory.iterdir()):
            os.chown(path, UID, UID)
        return directory

    def _copy(self) -> None:
        """Bring the applications, which go into an image."""
        self.host.write("/srv/apps.txt", (ROOT / "requirements/data-registry.txt").read_text())
        for name in ("data_registry_project", "process_app", "pelican_app"):
            self.host.copy(ROOT / "tests" / name, f"/srv/tests/{name}")
        self.host.write("/srv/tests/applications.py", (ROOT / "tests/applications.py").read_text())
        self.host.run("mkdir --parents /srv/collect")
