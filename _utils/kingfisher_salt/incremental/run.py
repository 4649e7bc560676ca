"""
One run of one incremental crawl: what the schedule calls.

Prints nothing, unless something is wrong: cron mails whatever is printed. The exit code is then 1; 75 if the last run
goes on still.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from .. import scrapy_log
from ..errors import KingfisherError, LockedError
from . import cardinal, database, installed, lock, record
from .config import Crawl

FAILED, LEFT_OUT = 1, os.EX_TEMPFAIL


class RefusedError(KingfisherError):
    """A run was not begun, since it would have lost data."""


class AlarmError(KingfisherError):
    """A run ended as it should, and there is less data than before."""


class Run:
    """A run, from the settings that Salt installed."""

    def __init__(self, values: dict[str, Any]):
        self.values = values
        self.crawl: Crawl = installed.crawl(values)
        self.directory = Path(values["directory"])
        self.state = self.directory / "runs" / self.crawl.identifier
        self.files_store = self.directory / "data"
        self.crawl_directory = self.files_store / self.crawl.relative_directory
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = 0
        self._record: dict[str, Any] = {}

    def command(self, log: Path) -> list[str]:
        """Return the command that crawls. No word of it is a secret, and no shell reads it."""
        words = [self.values["scrapy"], "crawl", self.crawl.spider]
        arguments = {**self.crawl.arguments, "crawl_time": f"{self.crawl.crawl_time}T00:00:00"}
        settings = {
            **self.crawl.settings,
            "FILES_STORE": str(self.files_store),
            "DATABASE_URL": database.url(self.values["database"]),
        }
        words += [word for name, value in arguments.items() for word in ("-a", f"{name}={value}")]
        words += [word for name, value in settings.items() for word in ("-s", f"{name}={value}")]
        return [*words, f"--logfile={log}"]

    def dry_run(self) -> dict[str, Any]:
        """Return what a run would do, and write nothing."""
        said: dict[str, Any] = {
            "command": shlex.join(self.command(self._log_directory() / f"{datetime.now():%Y-%m-%d}.log")),  # noqa: DTZ005
            "crawl_directory": str(self.crawl_directory),
            "cardinal": self.crawl.cardinal,
        }
        try:
            if who := lock.holder(self.state / "lock"):
                raise LockedError(f"{self.crawl.identifier} is running, as process {who.get('pid')}")
            if self.crawl.cardinal:
                cardinal.check(self.values["cardinal"], self.crawl.spider)
            said["rows"] = self._guard()
            said["result"] = "would run"
        except KingfisherError as e:
            said |= {"result": "would be refused", "reason": str(e)}
        return said

    def run(self) -> None:
        """
        Crawl, and do what follows a crawl.

        :raises KingfisherError: if anything is wrong
        """
        descriptor = lock.take(self.state / "lock", self.crawl.identifier)
        before = record.read(self.state)
        self._record = {
            "started": record.now(),
            "result": "running",
            "pid": os.getpid(),
            "last_success": before.get("last_success"),
        }
        began = time.monotonic()
        self._note(phase="before the crawl")
        try:
            with self._signals():
                self._run(descriptor)
        except KingfisherError as e:
            results = {RefusedError: "refused", AlarmError: "alarm"}
            self._end(began, result=results.get(type(e), "failed"), reason=str(e))
            raise
        except BaseException as e:
            self._end(began, result="failed", reason=f"{type(e).__name__}: {e}")
            raise
        self._end(began, result="success", last_success=record.now())
        os.close(descriptor)

    def _run(self, descriptor: int) -> None:
        if self.crawl.cardinal:
            cardinal.check(self.values["cardinal"], self.crawl.spider)
        before = self._guard()
        with self._database() as connection:
            stored_before = database.storage(connection, self.crawl.table)
        log = self._new_log()
        self._note(phase="crawling", rows_before=before, log=str(log))
        code = self._crawl(self.command(log), log, descriptor)
        with self._database() as connection:
            after = database.rows(connection, self.crawl.table)
            stored = database.storage(connection, self.crawl.table)
            self._note(phase="after the crawl", rows=after)
            self._grant(connection)
        self._judge(code, log)
        # DatabaseStore makes the table when it starts, and anew when it ends.
        if stored == stored_before or (not after and _has_data(self.crawl_directory)):
            raise KingfisherError(
                f"the crawl finished, and its table {self.crawl.table} was not stored anew: look for what the "
                f"DatabaseStore extension says in {log}"
            )
        if (after or 0) < (before or 0):
            raise AlarmError(
                f"the table {self.crawl.table} had {before} rows, and has {after} now: compare {self.crawl_directory} "
                f"with a backup, and {log} with the log before it; the next run compares with {after}"
            )
        if self.crawl.cardinal:
            self._cardinal()

    def _guard(self) -> int | None:
        """
        Return how many rows the table has.

        Kingfisher Collect's DatabaseStore makes the table anew from the crawl directory, when the crawl is finished.

        :raises RefusedError: if that would lose rows
        """
        with self._database() as connection:
            count = database.rows(connection, self.crawl.table)
        if count and not _has_data(self.crawl_directory):
            others = sorted(path.name for path in self.crawl_directory.parent.glob("*_*") if _has_data(path))
            there = f"; there is data in {', '.join(others)}, so compare crawl_time" if others else ""
            raise RefusedError(
                f"the crawl directory {self.crawl_directory} is {_lack(self.crawl_directory)}, and the table "
                f"{self.crawl.table} has {count} rows, which a crawl would replace by what it finds now{there}: "
                "restore the directory, or drop the table to begin anew"
            )
        return count

    def _crawl(self, command: list[str], log: Path, descriptor: int) -> int:
        environment = {**os.environ, **installed.read_environment(Path(self.values["environment_file"]))}
        try:
            with log.open("ab") as output:
                self._child = subprocess.Popen(
                    command,
                    cwd=self.values["checkout"],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[descriptor],
                )
        except OSError as e:
            raise KingfisherError(
                f"{e.filename}: {e.strerror}: salt 'ID' state.apply kingfisher.collect makes the virtual environment"
            ) from e
        lock.passed_on(descriptor, self._child.pid)
        if self._stopped:
            self._child.send_signal(self._stopped)
        return self._child.wait()

    def _judge(self, code: int, log: Path) -> None:
        facts = scrapy_log.read_log(log)
        self._note(finish_reason=facts.finish_reason, errors=facts.errors)
        if code < 0:
            raise KingfisherError(f"the crawl was ended by signal {-code} ({_signal(-code)}): see {log}")
        if not facts.finished:
            how = f"with the reason {facts.finish_reason}" if facts.finish_reason else f"with exit code {code}"
            raise KingfisherError(f"the crawl ended {how}, and not finished: see {log}")
        if code:
            raise KingfisherError(f"the crawl finished, and Scrapy ended with exit code {code}: see {log}")

    def _cardinal(self) -> None:
        def phase(name: str) -> None:
            self._note(phase=name)

        with self._database() as connection:
            scratch = self.state / "cardinal"
            flags = cardinal.run(self.values["cardinal"], self.crawl, connection, scratch, self._call, phase)
            self._note(flags=flags)
            self._grant(connection)

    def _call(self, command: list[str], output: Path) -> tuple[int, str]:
        """Run a program with its output in a file, and return its exit code, and the last that it said."""
        with output.open("wb") as file:
            self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE)
        if self._stopped:
            self._child.send_signal(self._stopped)
        _, said = self._child.communicate()
        lines = said.decode(errors="replace").strip().splitlines()
        return self._child.returncode, lines[-1] if lines else "it said nothing"

    def _grant(self, connection: Any) -> None:
        """Let the crawl's users read its tables, which were dropped and created."""
        there = database.existing(connection, self.crawl.tables)
        wanted = {(table, user) for table in there for user in self.crawl.users}
        database.grant(connection, wanted - database.granted(connection, there))

    def _database(self) -> Any:
        environment = installed.read_environment(Path(self.values["environment_file"]))
        secrets = {"password": environment["PGPASSWORD"]} if "PGPASSWORD" in environment else {}
        if "PGPASSFILE" in environment:
            secrets["passfile"] = environment["PGPASSFILE"]
        return database.connect(self.values["database"], **secrets)

    def _log_directory(self) -> Path:
        return self.directory / "logs" / self.crawl.spider / f"{datetime.now():%Y}"  # noqa: DTZ005 - as cron has it

    def _new_log(self) -> Path:
        """Return a log that no run has used: named by the day and, if the day has one already, by the time too."""
        directory = self._log_directory()
        directory.mkdir(parents=True, exist_ok=True)
        for number in range(1000):
            name = f"{datetime.now():%Y-%m-%d}" if not number else f"{datetime.now():%Y-%m-%d_%H%M%S}"  # noqa: DTZ005
            path = directory / f"{name}{f'_{number}' if number > 1 else ''}.log"
            try:
                path.touch(exist_ok=False)
            except FileExistsError:
                continue
            return path
        raise KingfisherError(f"{directory} has too many logs of this second: run it again")

    def _note(self, **facts: Any) -> None:
        self._record |= facts
        record.write(self.state, self._record)

    def _end(self, began: float, **facts: Any) -> None:
        del self._record["pid"]
        self._record.pop("phase", None)
        self._note(ended=record.now(), seconds=round(time.monotonic() - began), **facts)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Pass a polite request to end on to the crawl, which then ends in order, and so does the run."""
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, _: Any) -> None:
        self._stopped = number
        if self._child and self._child.poll() is None:
            self._child.send_signal(number)


def _has_data(directory: Path) -> bool:
    """Return whether there is a file that DatabaseStore would read. Stops at the first."""
    return any(name.endswith(".json") for _, _, names in os.walk(directory) for name in names)


def _lack(directory: Path) -> str:
    return "empty" if directory.is_dir() else "missing"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def main(arguments: list[str]) -> int:
    """Run a crawl, by the path of its settings, and return the exit code."""
    parser = argparse.ArgumentParser(description="Run an incremental crawl.")
    parser.add_argument("settings", type=Path)
    parser.add_argument("--dry-run", action="store_true", help="say, as JSON, what would be done, and write nothing")
    given = parser.parse_args(arguments)
    os.umask(0o022)
    try:
        run = Run(installed.read(given.settings))
        if given.dry_run:
            print(json.dumps(run.dry_run()))
        else:
            run.run()
    except LockedError as e:
        print(e, file=sys.stderr)
        return LEFT_OUT
    except KingfisherError as e:
        print(f"{given.settings.parent.name}: {e}", file=sys.stderr)
        return FAILED
    except OSError as e:
        print(f"{given.settings.parent.name}: {e.filename}: {e.strerror}: correct it, and run again", file=sys.stderr)
        return FAILED
    return 0
