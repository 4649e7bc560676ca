"""A server with incremental crawls, in a directory: what Salt installs there, and what cron would run."""

from __future__ import annotations

import getpass
import json
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kingfisher_salt
from kingfisher_salt.incremental import checkout, sync

from tests.services.postgresql import PostgreSQL

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "tests" / "incremental_project"
VIRTUALENV = ROOT / ".venv-scrapyd"
LIBRARY = Path(kingfisher_salt.__file__ or "").parent
#: What cron gives a command.
CRON_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LANG": "C.UTF-8"}


class Host:
    """A server whose crawls are those of ``crawls``, and of the pillar that ``pillar`` returns."""

    def __init__(self, directory: Path, postgresql: PostgreSQL):
        self.directory = directory
        self.home = directory / "home"
        self.program_directory = directory / "opt % it's"  # as quotes and percent signs may be anywhere
        self.cron_file = directory / "cron.d" / "kingfisher-incremental"
        self.crawls: list[dict[str, Any]] = []
        self.more: dict[str, Any] = {}
        self.postgresql = postgresql
        self.database = f"collect_{uuid.uuid4().hex}"
        postgresql.execute(f"CREATE DATABASE {self.database}", dbname="postgres")
        self.home.mkdir()
        self.cron_file.parent.mkdir()
        (self.home / "checkout").symlink_to(PROJECT)
        self.virtualenv = VIRTUALENV

    def remember_spiders(self) -> None:
        """Have ``scrapy list`` answered at once, for tests that apply pillar often. Scrapy takes half a second."""
        binaries = self.directory / "venv" / "bin"
        binaries.mkdir(parents=True)
        spiders = " ".join(path.stem for path in (PROJECT / "publishers" / "spiders").glob("[a-z]*_*.py"))
        remembered = f'[ "$1:$(pwd -P)" = "list:{PROJECT}" ] && printf "%s\\n" {spiders} && exit'
        for name, first in (("python", ""), ("scrapy", remembered)):
            (binaries / name).write_text(f'#!/bin/sh\n{first}\nexec {VIRTUALENV}/bin/{name} "$@"\n')
            (binaries / name).chmod(0o755)
        self.virtualenv = binaries.parent

    @property
    def pillar(self) -> dict[str, Any]:
        return {
            "user": getpass.getuser(),
            "git": {"target": "checkout"},
            "directory": str(self.home),
            "program_directory": str(self.program_directory),
            "virtualenv": str(self.virtualenv),
            "database": {
                "host": self.postgresql.host,
                "port": self.postgresql.port,
                "name": self.database,
                "user": self.postgresql.user,
                "password": self.postgresql.password,
            },
            "cron": {"file": str(self.cron_file)},
            "crawls": self.crawls,
            **self.more,
        }

    def plan(self) -> sync.Plan:
        config, notes = checkout.load_and_check(self.pillar)
        return sync.plan(config, LIBRARY, notes)

    def apply(self) -> sync.Plan:
        config, notes = checkout.load_and_check(self.pillar)
        plan = sync.plan(config, LIBRARY, notes)
        sync.apply(config, plan, LIBRARY)
        return plan

    def script(self, identifier: str) -> Path:
        return self.program_directory / "crawls" / identifier / "run"

    def run(self, identifier: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the script that cron would run, in the way of cron."""
        return subprocess.run(
            [self.script(identifier), *arguments],
            env={**CRON_ENVIRONMENT, "HOME": str(self.home)},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def start(self, identifier: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.script(identifier)],
            env={**CRON_ENVIRONMENT, "HOME": str(self.home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def last(self, identifier: str) -> dict[str, Any]:
        path = self.home / "runs" / identifier / "last.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def query(self, sql: str, **options: Any) -> list[Any]:
        connection = self.postgresql.connect(dbname=self.database, **options)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def tables(self) -> set[str]:
        return {name for (name,) in self.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}

    def role(self) -> str:
        """Make a role that may log in, and return its name."""
        name = f"reader_{uuid.uuid4().hex[:8]}"
        self.query(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
        return name

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Return all files, with their modes and contents."""
        return {
            str(path.relative_to(self.directory)): (path.stat().st_mode, path.read_bytes())
            for path in sorted(self.directory.rglob("*"))
            if path.is_file() and "checkout" not in path.parts and "__pycache__" not in path.parts
        }


def wait_until(true: Callable[[], object], timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)
