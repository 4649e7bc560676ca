"""Base images of hosts, made once and kept."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
RECIPE = HERE / "recipe"
REQUIREMENTS = HERE.parents[2] / "requirements"
IMAGES = Path("/var/cache/kingfisher-salt")
# Whatever it mounts and starts is gone when it ends, or when this process does.
ALONE = ("setpriv", "--pdeathsig", "KILL", "--", "unshare", "--mount", "--pid", "--fork", "--kill-child")
#: Which Salt each Debian has: both lines are tried.
SALT_OF = {"trixie": "3008", "bookworm": "3006"}


def image(suite: str) -> Path:
    """Return the root directory of a base image. It is made if it is missing, which takes a few minutes."""
    salt = _version(SALT_OF[suite])
    root = IMAGES / f"{suite}-{_key(salt)}"
    IMAGES.mkdir(mode=0o711, exist_ok=True)
    with (IMAGES / f"{suite}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            _make(root, suite, salt)
    return root


def _make(root: Path, suite: str, salt: str) -> None:
    partial, log = root.with_suffix(".partial"), root.with_suffix(".log")
    mounts = Path("/proc/mounts").read_text()
    for old in (partial, *IMAGES.glob(f"{suite}-*[0-9a-f]")):
        if str(old) not in mounts:  # no host stands on it, and nothing of this machine is mounted in it
            shutil.rmtree(old, ignore_errors=True)
    with log.open("wb") as output:
        code = subprocess.run([*ALONE, RECIPE, partial, suite, salt], stdout=output, stderr=output).returncode
    if code:
        raise RuntimeError(f"{RECIPE} ended with {code}. The end of {log}:\n{log.read_text(errors='replace')[-4000:]}")
    partial.rename(root)


def _version(line: str) -> str:
    lines = (REQUIREMENTS / f"salt-{line}.txt").read_text().splitlines()
    return next(line.removeprefix("salt==") for line in lines if line.startswith("salt=="))


def _key(salt: str) -> str:
    digest = hashlib.sha256(salt.encode())
    for file in (RECIPE, HERE / "salt-minion.service"):
        digest.update(file.read_bytes())
    for variable in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE"):
        bundle = Path(os.environ.get(variable) or "/nonexistent")
        if bundle.is_file():
            digest.update(bundle.read_bytes())
    return digest.hexdigest()[:12]
