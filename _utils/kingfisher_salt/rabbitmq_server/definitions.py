"""What RabbitMQ calls definitions, read and written as a whole: passwords travel as hashes, and never as arguments."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from tempfile import NamedTemporaryFile
from typing import Any

from ..errors import KingfisherError

#: Seconds that a command may take.
TIMEOUT = 120


class ControlError(KingfisherError):
    """RabbitMQ does not answer, or refuses."""


@dataclass(frozen=True)
class Control:
    """How to run rabbitmqctl. Its default is Debian's, for the server on this host."""

    command: Sequence[str] = ("rabbitmqctl",)
    environment: Mapping[str, str] | None = None

    def run(self, *arguments: str) -> str:
        """
        Run a command, and return what it prints.

        :raises ControlError: if it fails
        """
        try:
            ended = subprocess.run(
                [*self.command, "--quiet", *arguments],
                stdin=subprocess.DEVNULL,
                timeout=TIMEOUT,
                capture_output=True,
                text=True,
                env=None if self.environment is None else dict(self.environment),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ControlError(
                f"rabbitmqctl {arguments[0]} has not ended after {TIMEOUT} s: systemctl status rabbitmq-server"
            ) from None
        except OSError as e:
            raise ControlError(f"{self.command[0]} cannot be run ({e.strerror}): is RabbitMQ installed here?") from e
        if ended.returncode:
            said = [line for line in (ended.stderr + ended.stdout).splitlines() if line.strip()]
            raise ControlError(
                f"rabbitmqctl {arguments[0]}: {said[0] if said else 'no reason'}: systemctl status rabbitmq-server"
            )
        return ended.stdout

    def export(self) -> dict[str, Any]:
        """Return all definitions, with the hashes of passwords."""
        text = self.run("export_definitions", "-", "--format", "json")
        found: dict[str, Any] = json.loads(text[text.index("{") :])
        return found

    def imported(self, definitions: Mapping[str, Any]) -> None:
        """Add or change what is in definitions. Nothing is deleted by that."""
        # RabbitMQ 4 waits for ever for the end of its standard input.
        with NamedTemporaryFile("w", prefix="kingfisher-rabbitmq-", suffix=".json") as file:
            json.dump(definitions, file)
            file.flush()
            if os.geteuid() == 0 and self.environment is None:
                shutil.chown(file.name, "rabbitmq")  # as whom rabbitmqctl reads it
            self.run("import_definitions", file.name, "--format", "json")


def hashed(password: str, salt: bytes | None = None) -> str:
    """Return what RabbitMQ stores of a password, with SHA-256."""
    salt = secrets.token_bytes(4) if salt is None else salt
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def matches(password: str, user: Mapping[str, Any]) -> bool:
    """Return whether a user of the definitions has this password."""
    if user.get("hashing_algorithm") != "rabbit_password_hashing_sha256":
        return False
    stored = str(user.get("password_hash") or "")
    return hmac.compare_digest(hashed(password, base64.b64decode(stored)[:4]), stored)
