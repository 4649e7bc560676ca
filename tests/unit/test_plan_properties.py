"""
Any order of runs over any set of crawls ends in the same bucket.

The real run, with the real planner, on real files. The bucket is in memory, since a hundred thousand requests to a
real store would take minutes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from kingfisher_salt.archive import config, plan, run
from kingfisher_salt.errors import ChangedError, KingfisherError

from tests.crawls import DAY, age, make_crawl
from tests.memory_s3 import KilledError, MemoryS3, refusal

#: A file system in memory, where there is one: SQLite waits for the disk.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
#: How long ago the first of the days was on which crawls are written and runs are made.
LONG_AGO = 100

crawl = st.fixed_dictionaries(
    {
        "files": st.sampled_from([2, 3, 4]),
        "size": st.sampled_from([60, 90, 120, 180]),
        "errors": st.sampled_from([0, 0, 1, 2]),
        "content": st.sampled_from(["x", "x", "y", None]),
        "finish_reason": st.sampled_from(["finished"] * 5 + ["shutdown"]),
        "written": st.integers(0, 15),
    }
)
version = st.builds(
    "{}{:02}_000000".format, st.sampled_from(["202111", "202112", "202112", "202201", "202201"]), st.integers(1, 28)
)
crawls = st.dictionaries(
    st.tuples(st.sampled_from(["a", "a", "a", "b"]), version).map("/".join), crawl, min_size=1, max_size=6
)
fault = st.one_of(
    st.just(("none", 0)),
    st.tuples(st.sampled_from(["special", "unreadable", "undeletable"]), st.integers(0, 5)),
    st.tuples(st.sampled_from(["store", "killed"]), st.integers(0, 40)),
    st.tuples(st.just("killed locally"), st.integers(0, 10)),
)
runs = st.lists(
    st.fixed_dictionaries(
        {
            "day": st.integers(0, 25),
            "sources": st.sampled_from([None, None, {"a"}, {"b"}]),
            "limit": st.sampled_from([None, None, 1, 2]),
            "refresh": st.booleans(),
            "cache_lost": st.booleans(),
            "fault": fault,
            "length": st.integers(1, 12),
        }
    ),
    max_size=5,
).map(lambda found: sorted(found, key=lambda one: one["day"]))


class Installation:
    """A data directory, a logs directory and a bucket, on which runs are made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.client = MemoryS3()
        for name in ("data", "logs"):
            (root / name).mkdir(exist_ok=True)
        pillar = {
            "bucket": "bucket",
            "data_directory": f"{root}/data",
            "logs_directory": f"{root}/logs",
            "cache_file": f"{root}/cache.sqlite",
            "lock_file": f"{root}/lock",
        }
        loaded, problems = config.load(pillar, {})
        assert loaded, problems
        self.config = loaded

    def run(self, **options: Any) -> dict[str, Any]:
        return run.archive(self.config, run.Options(**options), client=self.client)  # type: ignore[arg-type]

    def settle(self) -> dict[str, Any]:
        """Run until nothing happens any more, and return what there is then."""
        for _ in range(3):
            result = self.run()
            assert not result["failed"]
            if not result["summary"]["archived"]:
                break
        state, disk = self.client.state(), self.disk()
        assert not self.run()["summary"]["archived"]
        assert (self.client.state(), self.disk()) == (state, disk)
        assert not self.client.uploads
        return state

    def disk(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if "cache" not in path.name)

    def disturbed(self, given: dict[str, Any], crawl_ids: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """Make one run, with what goes wrong in it."""
        if given["cache_lost"]:
            (self.root / "cache.sqlite").unlink(missing_ok=True)
        kind, number = given["fault"]
        victim = crawl_ids[number % len(crawl_ids)]
        with monkeypatch.context() as patch:
            now = time.time() - (LONG_AGO - given["day"]) * DAY
            patch.setattr(plan, "time", SimpleNamespace(time=lambda: now))
            if kind == "special":
                patch.setattr(plan.crawls, "survey", _special(plan.crawls.survey, victim))
            elif kind == "unreadable":
                patch.setattr(plan.crawls, "survey", _unreadable(plan.crawls.survey, victim))
            elif kind == "undeletable":
                patch.setattr(run.local, "delete", _undeletable(run.local.delete, victim))
            elif kind == "store":
                self.client.before = _Failing(number, given["length"])
            elif kind == "killed":
                self.client.before = _Killing(number)
            elif kind == "killed locally":
                killing = _Killing(number)
                self.client.before = killing.pass_on
                for name in ("rename", "unlink", "rmdir", "remove"):
                    patch.setattr(os, name, killing.around(getattr(os, name)))
            with suppress(KilledError, KingfisherError):
                self.run(**{key: given[key] for key in ("sources", "limit", "refresh")})
            self.client.before = lambda *_: None


def _special(survey: Any, victim: str) -> Any:
    def changed(directory: Path) -> Any:
        found = survey(directory)
        if str(directory).endswith(victim):
            return type(found)(**{**vars(found), "special": "x is a FIFO"})
        return found

    return changed


def _unreadable(survey: Any, victim: str) -> Any:
    def changed(directory: Path) -> Any:
        if str(directory).endswith(victim):
            raise ChangedError("001 cannot be opened: Permission denied")
        return survey(directory)

    return changed


def _undeletable(delete: Any, victim: str) -> Any:
    def changed(crawl: Any, *given: Any) -> None:
        if crawl.id == victim:
            raise KingfisherError("it cannot be deleted")
        delete(crawl, *given)

    return changed


class _Failing:
    """Answers some requests in a row with 500."""

    def __init__(self, first: int, length: int) -> None:
        self._first, self._length, self._seen = first, length, 0

    def __call__(self, operation: str, key: str) -> None:
        if "lock" in key or operation == "list_multipart_uploads":
            return
        self._seen += 1
        if self._first < self._seen <= self._first + self._length:
            raise refusal("InternalError", 500, operation)


class _Killing:
    """Kills the run at its n-th act, and lets nothing happen any more then."""

    def __init__(self, number: int) -> None:
        self._left = number
        self._dead = False

    def __call__(self, *_: Any) -> None:
        self._left -= 1
        self._dead = self._dead or self._left < 0
        self.pass_on()

    def pass_on(self, *_: Any) -> None:
        if self._dead:
            raise KilledError

    def around(self, function: Any) -> Any:
        def act(*given: Any, **options: Any) -> Any:
            self()
            return function(*given, **options)

        return act


FIRST = {"files": 2, "size": 90, "errors": 0, "content": "x", "finish_reason": "finished", "written": 0}
RUN = {
    "day": 10, "sources": None, "limit": None, "refresh": False, "cache_lost": False, "fault": ("none", 0), "length": 1
}  # fmt: skip


@settings(
    max_examples=int(os.environ.get("KINGFISHER_EXAMPLES", "100")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],
)
@example(  # A crawl of December is too young when one of January is old enough, which is the same.
    crawls={"a/20211201_000000": FIRST | {"written": 9}, "a/20220101_000000": FIRST},
    runs=[RUN],
)
@example(  # One of December fails, and the next waits for it. One of January is like the one that waits.
    crawls={
        "a/20211101_000000": FIRST | {"content": "y"},
        "a/20211201_000000": FIRST | {"content": None},
        "a/20211202_000000": FIRST | {"size": 180},
        "a/20220101_000000": FIRST | {"size": 180},
    },
    runs=[RUN | {"fault": ("special", 1)}],
)
@example(  # One is archived and cannot be deleted. Its month cannot be listed again. The next must not overwrite it.
    crawls={"a/20220101_000000": FIRST, "a/20220102_000000": FIRST, "a/20220103_000000": FIRST},
    runs=[RUN | {"fault": ("store", number), "length": 12} for number in range(5, 12)],
)
@given(crawls=crawls, runs=runs)
def test_any_order_of_runs_ends_in_the_same_bucket(
    crawls: dict[str, Any], runs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        root = Path(name)
        (root / "once").mkdir()
        for crawl_id, facts in crawls.items():
            source, _, version = crawl_id.partition("/")
            given = dict(facts)
            written = given.pop("written")
            made = make_crawl(root / "once", source, version, **given)
            age(made.directory, LONG_AGO - written)
        shutil.copytree(root / "once", root / "often")
        once, often = Installation(root / "once"), Installation(root / "often")
        ids = sorted(crawls)
        for one in runs:
            often.disturbed(one, ids, monkeypatch)
        assert often.settle() == once.settle()
