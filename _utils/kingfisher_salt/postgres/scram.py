"""What PostgreSQL stores of a password, computed here, so that the password itself is never sent to it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import stringprep
import unicodedata

ITERATIONS = 4096
_VERIFIER = re.compile(r"SCRAM-SHA-256\$(?P<iterations>\d+):(?P<salt>[^$]+)\$(?P<stored>[^:]+):(?P<server>.+)")
_FORBIDDEN = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def verifier(password: str, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    """Return what PostgreSQL stores of a password: RFC 5803, with SCRAM-SHA-256."""
    salt = secrets.token_bytes(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", _prepared(password).encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    texts = [base64.b64encode(value).decode() for value in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{texts[0]}${texts[1]}:{texts[2]}"


def matches(password: str, stored: str | None) -> bool:
    """Return whether what PostgreSQL stores is of this password. What is MD5 is not: it is to be replaced."""
    found = _VERIFIER.fullmatch(stored or "")
    if not found or not stored:
        return False
    salt = base64.b64decode(found["salt"])
    return hmac.compare_digest(verifier(password, salt, int(found["iterations"])), stored)


def _prepared(password: str) -> str:
    """Return the password as SASLprep (RFC 4013) has it; as it is, if that forbids it, as PostgreSQL does."""
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in password if not stringprep.in_table_b1(char)
    )
    normal = unicodedata.normalize("NFKC", mapped)
    is_allowed = normal and not any(table(char) for char in normal for table in _FORBIDDEN)
    return normal if is_allowed else password
