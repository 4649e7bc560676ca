"""
Build an egg from a git checkout at a revision: of what is committed, and nothing else that lies there.

Git and the project's setup.py run as the owner of the checkout, since both run what is in it.
"""

from __future__ import annotations

import configparser
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import KingfisherError
from .client import last_line
from .logs import read_part

_TIMEOUT = 600
#: What scrapyd-deploy writes, too, for a project that has none.
_SETUP = """\
from setuptools import find_packages, setup

setup(name="project", version="1.0", packages=find_packages(), entry_points={{"scrapy": ["settings = {settings}"]}})
"""


@dataclass(frozen=True)
class Checkout:
    """A git checkout, or a directory in one, that has a Scrapy project."""

    path: Path

    def commit(self, revision: str) -> str:
        """
        Return the ID of the commit that a revision is.

        :raises KingfisherError: if there is no such revision, or no checkout
        """
        if not self.path.is_dir():
            raise KingfisherError(f"argument checkout: there is no directory {self.path}")
        if revision.startswith("-"):
            raise KingfisherError(f"argument revision must be a commit, tag or branch, not {revision!r}")
        try:
            return self._run(["git", "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"]).strip()
        except _FailedError as e:
            what = f"it says {e}" if str(e) != "nothing" else "git -C CHECKOUT fetch, then name one that is there"
            raise KingfisherError(f"argument revision: {self.path} has no revision {revision}: {what}") from e

    def uncommitted(self) -> int:
        """Return how many files differ from the last commit, or are not in it. None of them is built."""
        try:
            return len(self._run(["git", "status", "--porcelain", "--", "."]).splitlines())
        except _FailedError:
            return 0

    def build(self, commit: str, python: Path) -> bytes:
        """
        Return an egg.

        :param python: an interpreter that has setuptools
        :raises KingfisherError: if it cannot be built
        """
        with self._directory() as directory:
            project, output = directory / "project", directory / "egg"
            try:
                self._run(["git", "archive", "--format=tar", "-o", str(directory / "tar"), commit])
                self._run(["mkdir", str(project), str(output)])
                self._run(["tar", "-xf", str(directory / "tar"), "-C", str(project)])
            except _FailedError as e:
                raise KingfisherError(f"{self.path} cannot be exported at {commit[:12]}: {e}") from e
            self._complete(project, commit)
            try:
                self._run([str(python), "-c", "import setuptools"], project)
            except _FailedError as e:
                raise KingfisherError(
                    f"scrapyd:python: {python} has no setuptools ({e}): name one that has, like that of Scrapyd's own "
                    "environment, which needs it"
                ) from e
            try:
                self._run([str(python), "setup.py", "--quiet", "bdist_egg", "-d", str(output)], project)
                (egg,) = output.glob("*.egg")
                return read_part(egg, 0, egg.lstat().st_size)
            except (_FailedError, ValueError, OSError) as e:
                raise KingfisherError(
                    f"{self.path} at {commit[:12]} cannot be built: {e}: correct its setup.py, and commit that"
                ) from e

    def _complete(self, project: Path, commit: str) -> None:
        """Write a setup.py if there is none."""
        configuration = configparser.ConfigParser(interpolation=None)
        where = f"{self.path} at {commit[:12]}"
        if not (project / "scrapy.cfg").is_file():
            raise KingfisherError(f"{where} has no scrapy.cfg, so that it is no Scrapy project: correct the checkout")
        try:
            configuration.read(project / "scrapy.cfg", encoding="utf-8")
            settings = configuration["settings"]["default"]
        except (configparser.Error, KeyError, ValueError) as e:
            raise KingfisherError(f"{where}: scrapy.cfg has no [settings] with a default: correct it") from e
        if not os.path.lexists(project / "setup.py"):
            if not all(part.isidentifier() for part in settings.split(".")):
                raise KingfisherError(f"{where}: scrapy.cfg has no module as its default settings, but {settings}")
            # Whatever is in its place by now, it is not followed.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with os.fdopen(os.open(project / "setup.py", flags, 0o644), "w", encoding="utf-8") as file:
                file.write(_SETUP.format(settings=settings))

    @contextmanager
    def _directory(self) -> Iterator[Path]:
        directory = Path(tempfile.mkdtemp(prefix="kingfisher-egg-"))
        try:
            if os.geteuid() == 0:
                os.chown(directory, *self._owner()[:2])
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _owner(self) -> tuple[int, int, str]:
        """Return the owner's user ID, group ID and home directory."""
        status = self.path.stat()
        try:
            owner = pwd.getpwuid(status.st_uid)
        except KeyError:
            return status.st_uid, status.st_gid, "/nonexistent"
        return owner.pw_uid, owner.pw_gid, owner.pw_dir

    def _run(self, argv: Sequence[str], directory: Path | None = None) -> str:
        uid, gid, home = self._owner()
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": home, "LC_ALL": "C.UTF-8"}
        as_owner = os.geteuid() == 0 and uid != 0
        try:
            done = subprocess.run(
                argv,
                cwd=directory or self.path,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT,
                check=True,
                user=uid if as_owner else None,
                group=gid if as_owner else None,
                extra_groups=[] if as_owner else None,
            )
        except subprocess.CalledProcessError as e:
            raise _FailedError(last_line(e.stderr or e.stdout or "")) from e
        except subprocess.TimeoutExpired as e:
            raise _FailedError(f"{argv[0]} took more than {_TIMEOUT} s") from e
        except OSError as e:
            raise _FailedError(f"{argv[0]}: {e.strerror}") from e
        return done.stdout


class _FailedError(Exception):
    """A command failed. The text is the last line that it wrote."""
