"""Call a function in a process of its own, and tell what that took; and print what was measured."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bench import ROOT


class Row(NamedTuple):
    """A row of the table."""

    measure: str
    today: str
    reach: str
    measured: str


HEAD = Row("measure", "today", "reach", "measured")


@dataclass(frozen=True)
class Took:
    """What a call took, after the imports."""

    #: What the function returned.
    returned: Any
    #: On the clock.
    seconds: float
    #: Of the processor, of all threads, without the store's.
    cpu_seconds: float
    #: The most memory that the process had, since it began, in MB. This is VmHWM: ru_maxrss counts the parent's too.
    peak: float
    #: Bytes that read(2), write(2) and the like moved: of files, but not of sockets, which take recv and send.
    read: int
    written: int


def call(function: Callable[..., Any], **arguments: Any) -> Took:
    """Call a function of a module of ours, with arguments that JSON can carry, in a process of its own."""
    module = function.__module__
    if module == "__main__" and (spec := sys.modules[module].__spec__):
        module = spec.name
    process = subprocess.run(
        [sys.executable, "-m", "bench.measuring", module, function.__name__],
        cwd=ROOT,
        input=json.dumps(arguments),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if process.returncode:
        raise SystemExit(f"{function.__name__} failed")
    return Took(**json.loads(process.stdout))


def _called() -> None:
    function = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
    arguments = json.load(sys.stdin)
    before, began, cpu = _io(), time.perf_counter(), time.process_time()
    returned = function(**arguments)
    seconds, cpu, after = time.perf_counter() - began, time.process_time() - cpu, _io()
    json.dump(
        {
            "returned": returned,
            "seconds": seconds,
            "cpu_seconds": cpu,
            "peak": _peak(),
            "read": after["rchar"] - before["rchar"],
            "written": after["wchar"] - before["wchar"],
        },
        sys.stdout,
    )


def _io() -> dict[str, int]:
    return {key: int(value) for key, value in _fields("/proc/self/io")}


def _peak() -> float:
    return int(dict(_fields("/proc/self/status"))["VmHWM"].split()[0]) * 1024 / 1e6


def _fields(path: str) -> Iterable[tuple[str, str]]:
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        yield key, value.strip()


def arguments(doc: str | None) -> argparse.Namespace:
    """Parse what every measure takes: scale, and rounds."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1, help="what part of the sizes to measure with (1)")
    parser.add_argument("--rounds", type=int, default=5, help="how often to repeat what is compared (5)")
    return parser.parse_args()


def main(doc: str | None, measure: Callable[[float, int], list[Row]]) -> None:
    """Print the table of one measure."""
    given = arguments(doc)
    show(measure(given.scale, given.rounds))


def show(rows: list[Row]) -> None:
    """Print a Markdown table."""
    for row in (HEAD, Row("---", "---", "---", "---"), *rows):
        print("|", " | ".join(row), "|")


def say(text: str) -> None:
    """Say how it goes, beside the table."""
    print(text, file=sys.stderr, flush=True)


def machine() -> str:
    """Return what machine this is, in one line."""
    model = next((v for k, v in _fields("/proc/cpuinfo") if k.strip() == "model name"), platform.machine())
    return f"{os.cpu_count()} × {model}, Python {platform.python_version()}, Linux {platform.release()}"


if __name__ == "__main__":
    _called()
