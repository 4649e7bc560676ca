"""Salt's loader, with the modules of this checkout and a pillar for real servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import salt._logging
import salt.config
import yaml
from saltfactories.utils.functional import Loaders

from tests.crawls import MadeCrawl, make_crawl
from tests.services.seaweedfs import REGION, SeaweedFS

ROOT = Path(__file__).parents[2]
CONFIGURATION = """\
id: registry
root_dir: {root}
file_client: local
file_roots: {{base: [{checkout}/salt]}}
pillar_roots: {{base: [{root}/pillar]}}
module_dirs: [{checkout}]  # Loaders empties the cache, and synced modules with it
enable_fqdns_grains: false
"""


class Minion:
    """Functions and states as the loader gives them to a minion without a master."""

    def __init__(self, root: Path):
        configuration = root / "etc/salt/minion"
        configuration.parent.mkdir(parents=True)
        configuration.write_text(CONFIGURATION.format(root=root, checkout=ROOT))
        (root / "pillar").mkdir()
        (root / "pillar/top.sls").write_text(yaml.safe_dump({"base": {"registry": ["registry"]}}))
        self._pillar_file = root / "pillar/registry.sls"
        self._pillar_file.write_text("{}")
        self._loaders = Loaders(salt.config.minion_config(str(configuration)))

    def set_pillar(self, pillar: dict[str, Any]) -> None:
        self._pillar_file.write_text(yaml.safe_dump(pillar))
        self._loaders.opts["pillar"] = pillar
        self._loaders._modules = None  # a module keeps the pillar that it was loaded with

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        self._loaders.context.pop("retcode", None)
        return self._loaders.modules[function](*args, **kwargs)

    def state(self, function: str, *, test: bool = False, **kwargs: Any) -> Any:
        return self._loaders.modules["state.single"](function, test=test, **kwargs)

    @property
    def grains(self) -> dict[str, Any]:
        return self._loaders.opts["grains"]

    @property
    def retcode(self) -> int:
        """The return code that the last function set."""
        return self._loaders.context.get("retcode", 0)


class Archive:
    """An installation: directories, a bucket and a pillar."""

    def __init__(self, root: Path, minion: Minion, seaweedfs: SeaweedFS, bucket: str):
        self.root = root
        self.data, self.logs = root / "data", root / "logs"
        self.data.mkdir()
        self.logs.mkdir()
        self.bucket = bucket
        self.minion = minion
        self.store = seaweedfs.client()
        self.pillar: dict[str, Any] = {
            "bucket": bucket,
            "data_directory": str(self.data),
            "logs_directory": str(self.logs),
            "cache_file": str(root / "cache" / "archive.sqlite"),
            "lock_file": str(root / "archive.lock"),
            "s3": {
                "endpoint_url": seaweedfs.endpoint_url,
                "region": REGION,
                "credentials_file": str(seaweedfs.credentials_file(root / "credentials", "archive")),
            },
        }
        self.configure()

    def configure(self, **settings: Any) -> None:
        """Change settings in pillar. None removes one."""
        self.pillar.update(settings)
        self.minion.set_pillar({"kingfisher_archive": {k: v for k, v in self.pillar.items() if v is not None}})

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        return self.minion.call(f"kingfisher.{function}", *args, **kwargs)

    def make(self, source: str, version: str, **options: Any) -> MadeCrawl:
        return make_crawl(self.root, source, version, **options)

    def keys(self) -> list[str]:
        """Return the keys in the bucket."""
        found = self.store.list_objects_v2(Bucket=self.bucket)
        return [item["Key"] for item in found.get("Contents", [])]

    def everything(self) -> tuple[list[str], dict[str, bytes], list[str]]:
        """Return all that a dry run has to leave as it is: files, objects, and uploads that were begun."""
        files = {str(p): p.read_bytes() if p.is_file() else b"" for p in sorted(self.root.rglob("*"))}
        uploads = self.store.list_multipart_uploads(Bucket=self.bucket)
        return self.keys(), files, [upload["Key"] for upload in uploads.get("Uploads", [])]


@pytest.fixture(scope="session")
def minion(tmp_path_factory: pytest.TempPathFactory) -> Minion:
    salt._logging.shutdown_temp_handler()  # it keeps what is logged, to write it when pytest has closed its streams
    return Minion(tmp_path_factory.mktemp("minion"))


@pytest.fixture
def archive(tmp_path: Path, minion: Minion, seaweedfs: SeaweedFS, bucket: str) -> Archive:
    return Archive(tmp_path, minion, seaweedfs, bucket)


@pytest.fixture
def unchanged(archive: Archive) -> Iterator[Callable[[], None]]:
    """Let a test end with everything as it was when it called this."""
    before = []
    yield lambda: before.append(archive.everything())
    assert [archive.everything()] == before
