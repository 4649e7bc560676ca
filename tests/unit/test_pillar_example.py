"""The example in pillar/ is complete, correct and without secrets, and the SLS tree has the library's defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from kingfisher_salt import settings
from kingfisher_salt.archive import config, schema
from kingfisher_salt.data_registry import config as registry_config
from kingfisher_salt.kingfisher_process import config as process_config
from kingfisher_salt.pelican import config as pelican_config

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "pillar/registry.sls"


@pytest.fixture
def example() -> dict[str, Any]:
    return yaml.safe_load(EXAMPLE.read_text())


def paths(schema: Mapping[str, settings.Key], path: str = "") -> Iterator[tuple[str, settings.Key]]:
    for name, key in schema.items():
        yield f"{path}{name}", key
        yield from paths(key.keys, f"{path}{name}:")


def given(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        yield f"{path}{name}", value
        if isinstance(value, dict):
            yield from given(value, f"{path}{name}:")


def test_the_settings_can_be_used(example: dict[str, Any], tmp_path: Path) -> None:
    archive = example["kingfisher_archive"]
    for name in ("data_directory", "logs_directory"):
        archive[name] = str(tmp_path)
    _, problems = config.load(archive, {})
    assert problems == []


def test_every_setting_is_there_or_in_a_comment(example: dict[str, Any]) -> None:
    there = dict(given(example["kingfisher_archive"]))
    text = EXAMPLE.read_text()
    missing = [
        path
        for path, _ in paths(config.SCHEMA)
        if path not in there and not re.search(rf"^ *# *{path.rpartition(':')[2]}\b", text, re.MULTILINE)
    ]
    assert missing == []


def test_there_is_no_secret(example: dict[str, Any]) -> None:
    secrets = {path for path, key in paths(config.SCHEMA) if key.secret}
    assert secrets >= {"s3:secret_access_key", "database:password", "sentry_dsn"}
    assert secrets & {path for path, _ in given(example["kingfisher_archive"])} == set()


def test_a_file_with_secrets_is_not_committed() -> None:
    assert (ROOT / "pillar/private/.gitignore").read_text() == "*\n!.gitignore\n"
    top = yaml.safe_load((ROOT / "pillar/top.sls").read_text())
    assert top["base"]["registry"] == ["registry", "private.registry", {"ignore_missing": True}]


def test_what_the_example_gives_as_defaults_are_the_defaults(example: dict[str, Any]) -> None:
    archive = dict(given(example["kingfisher_archive"]))
    defaults = {path: key.default for path, key in paths(config.SCHEMA)}
    own = {"bucket", "data_directory", "logs_directory", "log_level", "s3:region"}
    different = {
        path: value
        for path, value in archive.items()
        if path not in own and not isinstance(value, dict) and str(value) != str(defaults[path])
    }
    assert different == {}


@pytest.mark.parametrize("name", ["cache_file", "lock_file", "cron_file"])
def test_the_states_have_the_same_default_of_a_path(name: str) -> None:
    default = config.SCHEMA[name].default
    assert f"'{name}': given.get('{name}') or '{default}'" in (ROOT / "salt/kingfisher/archive/map.jinja").read_text()


def test_the_states_have_the_same_defaults_of_the_schedule() -> None:
    text = (ROOT / "salt/kingfisher/archive/map.jinja").read_text()
    match = re.search(r"set schedule = (\{.*?\})", text, re.DOTALL)
    assert match
    defaults = yaml.safe_load(match[1].replace("none", "null"))
    assert defaults == {name: key.default for name, key in schema.SCHEDULE.items()}


APPLICATIONS = pytest.mark.parametrize("application", [pelican_config, process_config, registry_config])


@APPLICATIONS
def test_the_settings_of_an_application_are_there_or_in_a_comment(application: Any, example: dict[str, Any]) -> None:
    there = example[application.ROOT]
    assert application.load(there, {}) == application.load({}, {})
    section = EXAMPLE.read_text().partition(f"\n{application.ROOT}:\n")[2].partition("\n\n")[0]
    missing = [
        path
        for path, key in paths(application.SCHEMA)
        if not key.secret and not re.search(rf"^ *(# )? *{path.rpartition(':')[2]}:", section, re.MULTILINE)
    ]
    assert missing == []
    assert "password" not in section
