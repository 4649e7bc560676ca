"""The example pillar of a deposit server is complete, correct and without secrets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kingfisher_salt.deposit import config
from kingfisher_salt.deposit.checks import config as check_config

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "pillar/deposit.sls"


@pytest.fixture
def deposit() -> dict[str, Any]:
    return yaml.safe_load(EXAMPLE.read_text())["deposit"]


def test_the_functions_can_use_it(deposit: dict[str, Any]) -> None:
    loaded = config.load(deposit, {})
    assert str(loaded.configuration_file) == "/etc/softwareheritage/deposit/server.yml"


def test_the_check_lacks_its_password_alone(deposit: dict[str, Any]) -> None:
    deposit["clients"]["checker"]["password"] = "h1dden"
    loaded = check_config.load(deposit, {})
    assert (loaded.url, loaded.collection) == (check_config.URL, "checker")
    assert loaded.origin_url == f"https://checker.example.com/{check_config.SLUG}"


@pytest.mark.parametrize("name", sorted(check_config.SCHEMA.keys() - {"password"}))
def test_every_setting_of_the_check_is_there_or_in_a_comment(deposit: dict[str, Any], name: str) -> None:
    assert name in deposit["check"] or re.search(rf"^ +# {name}: ", EXAMPLE.read_text(), re.MULTILINE)


def test_what_it_gives_as_defaults_of_the_check_are_the_defaults(deposit: dict[str, Any]) -> None:
    own = {"username", "collection"}
    defaults = {name: check_config.SCHEMA[name].default for name in deposit["check"] if name not in own}
    assert {name: value for name, value in deposit["check"].items() if name not in own} == defaults


def test_there_is_no_secret(deposit: dict[str, Any]) -> None:
    text = "\n".join(line for line in EXAMPLE.read_text().splitlines() if not line.lstrip().startswith("#"))
    assert not re.search(r"password|secret_key|broker|sentry_dsn", text)
    assert "password" not in deposit["check"]


def test_a_file_with_secrets_is_not_committed() -> None:
    top = yaml.safe_load((ROOT / "pillar/top.sls").read_text())
    assert top["base"]["deposit"] == ["deposit", "private.deposit", {"ignore_missing": True}]
