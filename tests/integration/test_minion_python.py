"""A minion whose Python lacks what our modules import, and gets it by the state minion."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.conftest import ROOT

# What salt/minion/files/requirements.txt names, without what Salt itself depends on, and what only these depend on.
LACKING = ("boto3", "botocore", "lz4", "psycopg2-binary", "s3transfer", "xxhash")
STATES = """\
include:
  - minion

all-is-archived:
  kingfisher.archived:
    - require:
      - sls: minion
"""
CONFIGURATION = """\
id: registry
root_dir: {root}
file_client: local
file_roots: {{base: [{root}/states, {checkout}/salt]}}
pillar_roots: {{base: [{root}/pillar]}}
enable_fqdns_grains: false
"""


def make_venv(directory: Path) -> Path:
    """Make a venv with links to all that this one has, but for what is lacking, and return its Python."""
    venv.create(directory, symlinks=True)
    (there,) = directory.glob("lib/python*/site-packages")
    here = Path(distribution("salt").locate_file("")).resolve()
    left_out = {file.parts[0] for name in LACKING for file in distribution(name).files or []}
    for path in here.iterdir():
        if path.name not in left_out and path.name != "__pycache__":
            (there / path.name).symlink_to(path)
    for name in ("salt-call", "salt-minion"):
        script = (Path(sys.executable).parent / name).read_text().partition("\n")[2]
        (directory / "bin" / name).write_text(f"#!{directory}/bin/python\n{script}")
        (directory / "bin" / name).chmod(0o755)
    return directory / "bin/python"


class Minion:
    def __init__(self, root: Path):
        self.bin = root / "venv/bin"
        self.configuration = root / "etc/salt"
        make_venv(root / "venv")
        for name in ("etc/salt", "pillar", "states"):
            (root / name).mkdir(parents=True)
        (self.configuration / "minion").write_text(CONFIGURATION.format(root=root, checkout=ROOT))
        (root / "states/check.sls").write_text(STATES)
        (root / "pillar/top.sls").write_text(yaml.safe_dump({"base": {"*": ["registry"]}}))
        (root / "pillar/registry.sls").write_text("{}")

    def call(self, *arguments: str) -> Any:
        command = [self.bin / "salt-call", f"--config-dir={self.configuration}", "--out=json", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        try:
            return json.loads(done.stdout)["local"]
        except ValueError:
            return done.stdout + done.stderr

    def apply(self, *arguments: str) -> dict[str, Any]:
        states = self.call("state.apply", "check", *arguments)
        assert isinstance(states, dict), states
        return {tag.split("_|-")[1]: state for tag, state in states.items()}


@pytest.fixture
def minion(tmp_path: Path) -> Minion:
    return Minion(tmp_path)


def test_what_is_installed_is_used_by_the_same_run(minion: Minion) -> None:
    minion.call("saltutil.sync_all")
    said = minion.call("kingfisher.archive")
    assert "kingfisher: boto3 is not installed: salt 'ID' state.apply minion" in said

    assert minion.apply("test=True")["minion-python-requirements"]["result"] is None
    first = minion.apply()
    assert first["minion-python-requirements"]["result"] is True, first
    assert first["minion-python-requirements"]["changes"]
    # The state ran, and found that its pillar is empty.
    assert "kingfisher_archive:bucket is not set" in first["all-is-archived"]["comment"]

    second = minion.apply()
    assert second["minion-python-requirements"]["changes"] == {}
    assert minion.apply("test=True")["minion-python-requirements"]["result"] is True


def test_another_version_is_noticed(minion: Minion, tmp_path: Path) -> None:
    requirements = (ROOT / "salt/minion/files/requirements.txt").read_text().splitlines()
    pinned = next(line for line in requirements if line.startswith("lz4=="))
    (tmp_path / "states/minion/files").mkdir(parents=True)
    for version, is_pending in ((pinned, True), ("PyYAML", False)):
        (tmp_path / "states/minion/files/requirements.txt").write_text(f"# {version}\n{version}\n")
        state = minion.apply("test=True")["minion-python-requirements"]
        assert (state["result"] is None) is is_pending
