"""
The demo: make demo.

Real crawls by Scrapyd of a local publisher, archived to SeaweedFS by a real Salt master and minion. All state is in
.demo/ and nothing runs on after the demo, unless --keep.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo import down
from demo.crawls import CRAWLS, make_crawls
from demo.publisher import Publisher
from demo.registry import CHECKOUT, Registry
from tests.services.postgresql import PostgreSQL
from tests.services.scrapyd import Scrapyd
from tests.services.seaweedfs import REGION, SeaweedFS

if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORY = CHECKOUT / ".demo"
BUCKET = "kingfisher-archive"
COMMANDS = (
    ("kingfisher.archive", "dry_run=True"),
    ("kingfisher.archive",),
    ("kingfisher.coverage",),
)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    print(f"{text} … ", end="", flush=True)
    started = time.monotonic()
    yield
    print(f"{time.monotonic() - started:.0f} s", flush=True)


def load(postgresql: PostgreSQL) -> None:
    """Record the crawls that Kingfisher Process would have loaded."""
    postgresql.create_collection_table()
    for source, started, _, is_loaded in CRAWLS:
        if is_loaded:
            postgresql.add_collection(source, started)


def pillar(data: Path, logs: Path, seaweedfs: SeaweedFS, postgresql: PostgreSQL, scrapyd: Scrapyd) -> dict[str, Any]:
    """Return the minion's pillar. Secrets are in files that only their owner can read."""
    return {
        "kingfisher_archive": {
            "bucket": BUCKET,
            "data_directory": str(data),
            "logs_directory": str(logs),
            "cache_file": str(DIRECTORY / "archive.sqlite"),
            "lock_file": str(DIRECTORY / "archive.lock"),
            "min_age_days": 7,
            "storage_class": "STANDARD_IA",
            "s3": {
                "endpoint_url": seaweedfs.endpoint_url,
                "region": REGION,
                "credentials_file": str(seaweedfs.credentials_file(DIRECTORY / "credentials", "archive")),
            },
            "database": {
                "host": postgresql.host,
                "port": postgresql.port,
                "name": postgresql.name,
                "user": postgresql.user,
                "passfile": str(postgresql.passfile(DIRECTORY / "pgpass")),
            },
        },
        "scrapyd": {
            "url": scrapyd.url,
            "project": logs.name,
            "logs_directory": str(logs.parent),
            "data_directory": str(data),
        },
    }


def show(registry: Registry, *command: str) -> bool:
    """Run a command on the minion as a person would, and return whether it succeeded."""
    print(f"\n$ salt 'registry' {' '.join(command)}", flush=True)
    status = registry.run("salt", "--timeout=60", registry.minion_id, *command).returncode
    if status:
        print(f"This failed, with exit code {status}. The logs are in {DIRECTORY}/*.log", file=sys.stderr)
    return status == 0


def say_where_to_look(seaweedfs: SeaweedFS, postgresql: PostgreSQL, scrapyd: Scrapyd, *, keep: bool) -> None:
    if not keep:
        print(
            "\nWhere to look next: the crawls that were kept are in .demo/data, the logs in .demo/*.log,"
            "\nthe commands in README.md. All servers are stopped now. To talk to them: make demo KEEP=1"
        )
        return
    print(f"""
Running, until Ctrl-C here or `make demo-down` elsewhere:
  Salt        .demo/bin/salt, salt-run, salt-call, salt-key; configuration in .demo/config, pillar in .demo/pillar
  SeaweedFS   {seaweedfs.endpoint_url}, bucket {BUCKET}, keys in .demo/credentials
  PostgreSQL  {postgresql.host}:{postgresql.port}, database {postgresql.name}, password in .demo/pgpass
  Scrapyd     {scrapyd.url}, crawls in .demo/data, their logs in .demo/scrapyd/logs

Where to look next:
  .demo/bin/salt 'registry' kingfisher.archives
  .demo/bin/salt 'registry' kingfisher.verify deep=True
  .demo/bin/salt 'registry' scrapyd.health
  .demo/bin/salt-run kingfisher.archive registry dry_run=True
  .demo/bin/salt 'registry' sys.doc kingfisher""")


def run(*, keep: bool) -> int:
    with ExitStack() as stack:
        with step("Starting PostgreSQL, SeaweedFS and Scrapyd"):
            postgresql = stack.enter_context(PostgreSQL(DIRECTORY / "postgresql"))
            seaweedfs = stack.enter_context(SeaweedFS(DIRECTORY / "seaweedfs"))
            scrapyd = stack.enter_context(Scrapyd(DIRECTORY / "scrapyd"))
            publisher = stack.enter_context(Publisher())
        with step(f"Making {len(CRAWLS)} crawls, one of them a sample"):
            data, logs = make_crawls(DIRECTORY, scrapyd, publisher)
            load(postgresql)
            seaweedfs.client().create_bucket(Bucket=BUCKET)
        with step("Starting a Salt master, and a minion named registry"):
            registry = stack.enter_context(Registry(DIRECTORY, pillar(data, logs, seaweedfs, postgresql, scrapyd)))
            registry.run("salt", "registry", "saltutil.sync_all", capture_output=True).check_returncode()
            registry.run("salt-run", "saltutil.sync_all", capture_output=True).check_returncode()
        for command in COMMANDS:
            if not show(registry, *command):
                return 1
        say_where_to_look(seaweedfs, postgresql, scrapyd, keep=keep)
        if keep:
            signal.pause()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave everything running, until it is interrupted")
    arguments = parser.parse_args()

    if down.running():
        print("A demo is running. To stop it: make demo-down", file=sys.stderr)
        return 1
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    DIRECTORY.mkdir(mode=0o700)
    down.PID_FILE.write_text(str(os.getpid()))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that `make demo-down` is like Ctrl-C
    try:
        with suppress(KeyboardInterrupt):
            return run(keep=arguments.keep)
        print("\nStopped.")
        return 0 if arguments.keep else 130
    finally:
        down.PID_FILE.unlink()


if __name__ == "__main__":
    sys.exit(main())
