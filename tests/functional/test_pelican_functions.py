"""The execution functions of Pelican backend, with a real database and a stand-in for its commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

from tests.applications import PelicanApp
from tests.functional.conftest import Minion
from tests.services.postgresql import PostgreSQL


@pytest.fixture
def pelican(tmp_path: Path, minion: Minion, postgresql: PostgreSQL) -> Iterator[PelicanApp]:
    app = PelicanApp(tmp_path, postgresql)
    minion.set_pillar({"pelican": app.pillar})
    yield app
    app.drop()


def call(minion: Minion, function: str, *args: Any, **kwargs: Any) -> Any:
    result = minion.call(f"pelican.{function}", *args, **kwargs)
    assert json.loads(json.dumps(result)) == result
    return result


def test_a_dataset_is_listed_and_removed(minion: Minion, pelican: PelicanApp) -> None:
    number = pelican.add_dataset()
    assert call(minion, "datasets")[str(number)]["phase"] == "CHECKED"
    before = pelican.contents()
    assert call(minion, "remove", number, dry_run=True)["removed"] is False
    assert pelican.contents() == before
    assert call(minion, "remove", str(number))["removed"] is True
    assert call(minion, "datasets") == {}


def test_a_list_that_is_too_large_names_its_argument(minion: Minion, pelican: PelicanApp) -> None:
    pelican.execute(
        "INSERT INTO dataset (name, meta) "
        "SELECT repeat('x', 200) || number, '{}' FROM generate_series(1, 5000) AS number"
    )
    with pytest.raises(CommandExecutionError, match=r"^5000 entries are more than a master passes on: use a smaller"):
        call(minion, "datasets", limit=5000)
    assert len(call(minion, "datasets", limit=1000)) == 1000


def test_what_pelican_refuses_is_one_sentence(minion: Minion, pelican: PelicanApp) -> None:
    number = pelican.add_dataset("DATASET", "IN_PROGRESS")
    with pytest.raises(CommandExecutionError, match="is in phase DATASET, state IN_PROGRESS"):
        call(minion, "remove", number)


@pytest.mark.usefixtures("pelican")
@pytest.mark.parametrize("number", ["12\n13", "-1", "1e3", 1.5, True, None, "12; rm", 0, 1 << 40])
def test_what_is_no_number_is_refused(minion: Minion, number: Any) -> None:
    with pytest.raises(SaltInvocationError, match="argument dataset must be the number of a dataset"):
        call(minion, "remove", number)


def test_exchange_rates_are_carried_over(minion: Minion, pelican: PelicanApp, tmp_path: Path) -> None:
    pelican.add_rates("2026-01-01", 3)
    path = str(tmp_path / "rates.csv")
    exported = call(minion, "export_exchange_rates", path)
    before = pelican.rates()
    pelican.execute("TRUNCATE exchange_rates RESTART IDENTITY")
    assert call(minion, "exchange_rates")["count"] == 0
    assert minion.retcode == 1
    assert call(minion, "import_exchange_rates", path, dry_run=True)["added"] == 3
    assert call(minion, "import_exchange_rates", path, sha256=exported["sha256"])["added"] == 3
    assert call(minion, "import_exchange_rates", path)["added"] == 0
    assert pelican.rates() == before
    assert call(minion, "exchange_rates")["latest"] == "2026-01-03"
    assert minion.retcode == 0


@pytest.mark.usefixtures("pelican")
def test_a_file_that_is_missing_is_named(minion: Minion, tmp_path: Path) -> None:
    with pytest.raises(CommandExecutionError, match=r"missing\.csv: No such file or directory"):
        call(minion, "import_exchange_rates", str(tmp_path / "missing.csv"))
    with pytest.raises(SaltInvocationError, match="argument path must be an absolute path"):
        call(minion, "export_exchange_rates", "rates.csv")


@pytest.mark.usefixtures("pelican")
def test_settings_are_checked(minion: Minion) -> None:
    with pytest.raises(CommandExecutionError, match="argument databse is not a setting: did you mean database"):
        call(minion, "datasets", databse={})
    with pytest.raises(CommandExecutionError, match="is a secret, which an argument would show"):
        call(minion, "datasets", database={"password": "hunter2"})
