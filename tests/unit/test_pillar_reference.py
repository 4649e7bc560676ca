"""docs/pillar.md is what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_reference_is_that_of_the_code() -> None:
    argv = [sys.executable, ROOT / "docs/reference", "--print"]
    made = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs/pillar.md").read_text() == made, "run docs/reference"
