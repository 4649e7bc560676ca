"""
A real master, and a real minion named registry.

The minion runs as whoever runs the tests, which may be root. So all that it is told to touch is in a directory of the
test's: its configuration and caches by root_dir, and cache, lock and cron file by pillar.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import salt._logging
import yaml
from saltfactories.manager import FactoriesManager

from tests.crawls import MadeCrawl, make_crawl
from tests.services.files import write_private
from tests.services.postgresql import PostgreSQL
from tests.services.seaweedfs import REGION, SeaweedFS

ROOT = Path(__file__).parents[2]
BINARIES = Path(sys.executable).parent


@dataclass
class Registry:
    """The two daemons, what they are configured with, and a place for crawls."""

    root: Path
    master: Any
    minion: Any
    #: All that the commands printed, to be searched.
    printed: list[str] = field(default_factory=list)

    @property
    def salt_tree(self) -> Path:
        """What the master serves: a copy of this checkout's."""
        return self.root / "salt"

    @property
    def minion_configuration(self) -> Path:
        return Path(self.minion.config_dir)

    def run(self, program: str, *arguments: str, daemon: Any = None, timeout: float = 120) -> tuple[int, str]:
        """Run one of Salt's commands as a person would, and return its exit code and what it printed."""
        command = [BINARIES / program, f"--config-dir={(daemon or self.master).config_dir}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
        self.printed += [done.stdout, done.stderr]
        return done.returncode, done.stdout + done.stderr

    def salt(self, *arguments: str) -> tuple[int, Any]:
        """Run ``salt 'registry' …``, and return its exit code and what the function returned."""
        code, printed = self.run("salt", "--timeout=60", "--out=json", "registry", *arguments)
        try:
            return code, json.JSONDecoder().raw_decode(printed)[0]["registry"]
        except ValueError:
            return code, printed

    def apply(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Apply states, and return the exit code and each state's return, by its id."""
        code, states = self.salt("state.apply", *arguments)
        assert isinstance(states, dict), states
        return code, {state["__id__"]: state for state in states.values()}

    def set_pillar(self, pillar: dict[str, Any]) -> None:
        write_private(self.root / "pillar/registry.sls", yaml.safe_dump(pillar))
        self.salt("saltutil.refresh_pillar", "wait=True")


@pytest.fixture(scope="session")
def salt_factories_default_root_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the daemons have their files, which two runs do not share."""
    return tmp_path_factory.mktemp("s")


@pytest.fixture(scope="session")
def registry(salt_factories: FactoriesManager, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    salt._logging.shutdown_temp_handler()  # it keeps what is logged, to write it when pytest has closed its streams
    root = tmp_path_factory.mktemp("registry")
    shutil.copytree(ROOT / "salt", root / "salt", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "pillar").mkdir()
    (root / "pillar/top.sls").write_text(yaml.safe_dump({"base": {"registry": ["registry"]}}))
    (root / "pillar/registry.sls").write_text("{}")
    master = salt_factories.salt_master_daemon(
        f"master-{uuid.uuid4().hex[:6]}",
        overrides={
            "file_roots": {"base": [str(root / "salt")]},
            "pillar_roots": {"base": [str(root / "pillar")]},
            "log_level_logfile": "debug",
            "worker_threads": 3,
        },
    )
    minion = master.salt_minion_daemon(
        "registry",
        overrides={
            "log_level_logfile": "debug",
            "enable_fqdns_grains": False,
            "kingfisher_manifest_directory": str(root / "manifest"),
        },
    )
    with master.started(), minion.started():
        registry = Registry(root, master, minion)
        code, synced = registry.salt("saltutil.sync_all")
        assert code == 0, synced
        yield registry


@dataclass
class Installation:
    """What one test archives, and where to."""

    registry: Registry
    root: Path
    bucket: str
    store: Any
    pillar: dict[str, Any]

    @property
    def cron_file(self) -> Path:
        return Path(self.pillar["cron_file"])

    def configure(self, **settings: Any) -> None:
        """Change settings in pillar. None removes one."""
        self.pillar.update(settings)
        kept = {key: value for key, value in self.pillar.items() if value is not None}
        self.registry.set_pillar({"kingfisher_archive": kept})

    def make(self, source: str, version: str, **options: Any) -> MadeCrawl:
        return make_crawl(self.root, source, version, **options)

    def keys(self) -> list[str]:
        found = self.store.list_objects_v2(Bucket=self.bucket)
        return [item["Key"] for item in found.get("Contents", [])]


@pytest.fixture
def installation(
    registry: Registry, tmp_path: Path, seaweedfs: SeaweedFS, postgresql: PostgreSQL, bucket: str
) -> Installation:
    """Return an installation whose secrets are in pillar, as they are where nothing better is to be had."""
    for name in ("data", "logs"):
        (tmp_path / name).mkdir()
    identity = seaweedfs.identities["archive"]
    pillar = {
        "bucket": bucket,
        "data_directory": str(tmp_path / "data"),
        "logs_directory": str(tmp_path / "logs"),
        "cache_file": str(tmp_path / "state/archive.sqlite"),
        "lock_file": str(tmp_path / "lock/archive.lock"),
        "cron_file": str(tmp_path / "cron-d/kingfisher-archive"),
        "s3": {
            "endpoint_url": seaweedfs.endpoint_url,
            "region": REGION,
            "access_key_id": identity.access_key,
            "secret_access_key": identity.secret_key,
        },
        "database": {
            "host": postgresql.host,
            "port": postgresql.port,
            "name": postgresql.name,
            "user": postgresql.user,
            "password": postgresql.password,
        },
    }
    (tmp_path / "cron-d").mkdir()
    installation = Installation(registry, tmp_path, bucket, seaweedfs.client(), pillar)
    installation.configure()
    return installation


@pytest.fixture
def source(postgresql: PostgreSQL) -> str:
    """Return the name of a source of which Kingfisher Process has loaded May and June 2024."""
    name = f"source_{uuid.uuid4().hex[:8]}"
    for month in ("05", "06"):
        postgresql.add_collection(name, f"2024-{month}-01 04:05:06")
    return name


@pytest.fixture
def events(registry: Registry, tmp_path: Path) -> Iterator[Path]:
    """Return a file to which the events on the master's bus are written."""
    path = tmp_path / "events.txt"
    command = [BINARIES / "salt-run", f"--config-dir={registry.master.config_dir}", "state.event"]
    with path.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as listener:
        deadline = time.monotonic() + 60
        while "test/listening" not in path.read_text():
            assert time.monotonic() < deadline, path.read_text()
            registry.run("salt-call", "event.fire_master", "{}", "test/listening", daemon=registry.minion)
        yield path
        listener.terminate()
