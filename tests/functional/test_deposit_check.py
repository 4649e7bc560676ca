"""The check of a deposit server as Salt runs it, and the state of its database's password."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.functional.conftest import Minion
from tests.services.deposit import DepositServer


@pytest.fixture
def pillar(minion: Minion, deposit_server: DepositServer) -> dict[str, Any]:
    """Return pillar deposit with a new test client, which a test may change and set again."""
    name = f"check-{uuid.uuid4().hex[:8]}"
    password = deposit_server.create_client(name)
    found = {
        **deposit_server.pillar,
        "stuck_hours": dict.fromkeys(("partial", "deposited", "verified", "loading"), 80000),
        "clients": {name: {"password": password, "provider_url": "https://example.com/"}},
        "check": {"username": name, "poll_interval": 0.1},
    }
    minion.set_pillar({"deposit": found})
    return found


@pytest.mark.usefixtures("pillar")
def test_a_dry_run_deposits_nothing(minion: Minion, deposit_server: DepositServer) -> None:
    before = deposit_server.query("SELECT count(*) AS number FROM deposit")
    line = minion.call("deposit.check", dry_run=True)
    assert line.startswith("DEPOSIT OK - server: "), line
    assert minion.retcode == 0
    assert deposit_server.query("SELECT count(*) AS number FROM deposit") == before


@pytest.mark.usefixtures("pillar")
def test_a_deposit_that_nobody_takes_is_critical(minion: Minion) -> None:
    line = minion.call("deposit.check", warning=1, critical=1)
    assert "is still deposited after" in line
    assert minion.retcode == 2


@pytest.mark.usefixtures("pillar")
def test_a_mistyped_argument_is_unknown(minion: Minion) -> None:
    line = minion.call("deposit.check", wanring=1)
    assert line == "DEPOSIT UNKNOWN - argument wanring is not a setting: did you mean warning?"
    assert minion.retcode == 3


@pytest.mark.usefixtures("pillar")
def test_the_password_is_refused_as_an_argument(minion: Minion) -> None:
    line = minion.call("deposit.check", password="h1dden")
    assert "argument password is a secret" in line
    assert "h1dden" not in line
    assert minion.retcode == 3


@pytest.mark.parametrize(("password", "changes"), [("", False), ("h1dden", True)])
def test_the_password_of_the_role_is_compared_by_trying_it(
    minion: Minion, deposit_server: DepositServer, password: str, changes: bool
) -> None:
    db = deposit_server.configuration["private"]["db"]
    db["password"] = password or db["password"]
    minion.set_pillar({"deposit": {"server": {"config": {"private": {"db": db}}}}})
    ret = minion.state("deposit_database.password", name=db["user"], test=True)
    assert ret.result is (None if changes else True)
    assert ret.changes == ({"password": {"old": "**", "new": "**"}} if changes else {})
    assert db["password"] not in str(ret)
    assert minion.call("deposit.database_password", dry_run=True) is changes
