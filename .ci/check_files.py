"""Checks that no file names a package registry, and that YAML files without Jinja parse."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

# In pieces, so that this file does not name them either.
REGISTRIES = [
    b".".join(parts)
    for parts in (
        (b"pypi", b"org"),
        (b"pythonhosted", b"org"),
        (b"npmjs", b"org"),
        (b"crates", b"io"),
        (b"proxy", b"golang", b"org"),
    )
]


def files() -> Iterator[Path]:
    """Yield the files that git has, or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    yield from (path for path in map(Path, filter(None, names)) if path.is_file() and not path.is_symlink())


def problems(path: Path) -> Iterator[str]:
    content = path.read_bytes()
    for registry in REGISTRIES:
        if registry in content:
            yield f"{path}: names the package registry {registry.decode()}"
    if path.suffix in {".sls", ".yaml", ".yml"} and b"{%" not in content and b"{{" not in content:
        try:
            list(yaml.safe_load_all(content))
        except yaml.YAMLError as error:
            yield f"{path}: {error}"


def main() -> int:
    found = [problem for path in files() for problem in problems(path)]
    print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
