"""SQL by psql as PostgreSQL's superuser, on its standard input: nothing of it is seen in the list of processes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import KingfisherError

#: What PostgreSQL would write to its log or statistics may hold what it stores of a password.
_QUIET = (
    "SET log_statement = 'none'; SET log_min_error_statement = 'panic'; SET log_min_duration_statement = -1;"
    " SET log_duration = off; SET client_min_messages = 'warning'; SET pg_stat_statements.track_utility = off;\n"
)


class SqlError(KingfisherError):
    """PostgreSQL does not answer, or refuses a statement."""


@dataclass(frozen=True)
class Psql:
    """How to run psql. Its default is as the system's user postgres, whom PostgreSQL knows by that."""

    command: Sequence[str] = ("runuser", "-u", "postgres", "--", "psql")
    environment: Mapping[str, str] | None = None

    def run(self, statements: Iterable[str], database: str = "postgres", *, single: bool = True) -> str:
        """
        Run statements, and return what they print.

        :param single: whether they are one transaction
        :raises SqlError: if PostgreSQL does not answer, or refuses one
        """
        options = ["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"]
        text = _QUIET + "".join(f"{statement};\n" for statement in statements)
        try:
            ended = subprocess.run(
                [*self.command, *options, *(["--single-transaction"] if single else []), f"--dbname={database}"],
                input=text,
                capture_output=True,
                text=True,
                env=None if self.environment is None else dict(self.environment),
                check=False,
                cwd="/",  # which every user may enter
            )
        except OSError as e:
            raise SqlError(f"{self.command[0]} cannot be run ({e.strerror}): is PostgreSQL installed here?") from e
        if ended.returncode:
            raise SqlError(f"PostgreSQL, database {database}: {reason(ended.stderr)}")
        return ended.stdout.strip()

    def rows(self, query: str, database: str = "postgres") -> list[dict[str, Any]]:
        """Return what a query finds, each row by the names of its columns."""
        found = self.run([f"SELECT coalesce(json_agg(found), '[]') FROM ({query}) AS found"], database, single=False)
        return list(json.loads(found))


def name(text: str) -> str:
    """Return a name as SQL has it."""
    return '"{}"'.format(text.replace('"', '""'))


def literal(text: str) -> str:
    """Return a text as SQL has it."""
    return "'{}'".format(text.replace("'", "''"))


def reason(stderr: str) -> str:
    """Return the first complaint of a program, without the line of the statement, which may hold a secret."""
    lines = [line for line in stderr.splitlines() if "ERROR:" in line or "FATAL:" in line or "error:" in line]
    text = (lines or stderr.strip().splitlines() or ["no reason was given"])[0]
    for mark in ("ERROR:", "FATAL:", "error:"):
        text = text.rpartition(mark)[2]
    return text.strip()
