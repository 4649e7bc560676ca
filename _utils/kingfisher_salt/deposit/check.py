"""
Run a check of a deposit server, and tell of the last one.

As a program, it is what NRPE and Icinga call, and needs no Salt. The password is in the file of settings.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..errors import KingfisherError
from . import probes
from .checks import config as check_config
from .checks import end_to_end, health
from .checks.report import Report, State

END_TO_END, HEALTH = "end-to-end", "health"


def run(name: str, deposit: Mapping[str, Any], arguments: Mapping[str, Any]) -> Report:
    """
    Run a check. It never raises: what keeps it from being run is UNKNOWN.

    :param deposit: pillar ``deposit``
    :param arguments: settings of ``deposit:check`` that are laid over it
    """
    try:
        settings = check_config.load(deposit, arguments)
        if name == END_TO_END:
            return end_to_end.check(settings)
        return health.check({"server": lambda: health.server(settings), **probes.load(deposit)})
    except KingfisherError as e:
        return Report(State.UNKNOWN, str(e))
    except Exception as e:  # noqa: BLE001  an exit code of 1, Python's own, would be a warning
        return Report(State.UNKNOWN, f"the check itself failed, with {type(e).__name__}: {e}")


def record(path: Path, report: Report, stale_after: int) -> None:
    """Write down what a check said, in one step, for anybody to read."""
    now = int(time.time())
    values = {"line": report.line, "code": int(report.state), "time": now, "stale_after": stale_after}
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(json.dumps(values), encoding="utf-8")
    new.chmod(0o644)
    new.replace(path)


def last(path: Path) -> tuple[str, int]:
    """Return the line and the exit code of the last check. If it is too old, they are UNKNOWN."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        line, code, then = str(values["line"]), int(values["code"]), int(values["time"])
        age = time.time() - then
        is_stale = age > int(values["stale_after"])
    except FileNotFoundError:
        return _unknown(f"no check was run yet, or none could write {path}: see the mail of cron")
    except (OSError, ValueError, KeyError, TypeError):
        return _unknown(f"{path} cannot be read: run the check again")
    if is_stale:
        at = datetime.fromtimestamp(then, timezone.utc).isoformat()
        return _unknown(f"the last check was at {at}: does cron run, and the check end? It said: {line}")
    return line, code


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="check_deposit", description="Check a Software Heritage deposit server.")
    parser.add_argument("--settings", type=Path, required=True, help="a JSON file of pillar deposit")
    parser.add_argument("--state", type=Path, required=True, help="the directory of what the last checks said")
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")
    for name, text in ((END_TO_END, "deposit something, and follow it"), (HEALTH, "check without a deposit")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--record", action="store_true", help="write down the result, and print nothing")
        command.add_argument("--stale-after", type=int, default=3600, help="seconds until it is too old")
    command = commands.add_parser("last", help="tell the last result that was written down")
    command.add_argument("which", choices=(END_TO_END, HEALTH))
    try:
        options = parser.parse_args(argv)
    except SystemExit as e:
        return int(State.UNKNOWN) if e.code else 0
    if options.name == "last":
        line, code = last(options.state / f"{options.which}.json")
        print(line)
        return code
    report = _run_settings(options.name, options.settings)
    if options.record:
        record(options.state / f"{options.name}.json", report, options.stale_after)
        return 0
    print(report.line)
    return int(report.state)


def _run_settings(name: str, path: Path) -> Report:
    try:
        deposit = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not what Salt wrote"
        return Report(State.UNKNOWN, f"{path} cannot be read: {reason}: salt 'ID' state.apply swh.deposit")
    return run(name, deposit, {})


def _unknown(text: str) -> tuple[str, int]:
    return Report(State.UNKNOWN, text).line, int(State.UNKNOWN)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
