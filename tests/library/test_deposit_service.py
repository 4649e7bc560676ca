"""The deposit's server that the other tests use is a real one, and reaches the states that it can."""

from __future__ import annotations

import pytest
import requests

from tests.services.deposit import DepositServer


def test_a_deposit_goes_through_its_states(deposit_server: DepositServer) -> None:
    password = deposit_server.create_client("states")

    partial = deposit_server.upload("states", password, "--partial")
    complete = deposit_server.upload("states", password)
    before = deposit_server.deposit(complete)["status"]
    deposit_server.check(complete)

    assert deposit_server.deposit(partial)["status"] == "partial"
    assert before == "deposited"
    assert deposit_server.deposit(complete)["status"] == "verified"
    assert deposit_server.task(complete)["type"] == "load-deposit"
    assert deposit_server.task(complete)["status"] == "next_run_not_scheduled"


def test_the_server_asks_for_a_password(deposit_server: DepositServer) -> None:
    assert requests.get(f"{deposit_server.url}/servicedocument/", timeout=10).status_code == 401


def test_the_scheduler_can_be_down(deposit_server: DepositServer) -> None:
    with deposit_server.scheduler_down(), pytest.raises(requests.ConnectionError):
        requests.get(deposit_server.scheduler_url, timeout=10)

    assert requests.get(deposit_server.scheduler_url, timeout=10).status_code == 200
