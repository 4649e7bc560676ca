"""What is wrong with the deposit's configuration, database or programs is one sentence, with no secret in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kingfisher_salt.deposit import clients, deposits, migrations, reschedule, server_file
from kingfisher_salt.deposit import config as deposit_config
from kingfisher_salt.errors import KingfisherError

from tests.services.deposit import DepositServer
from tests.services.ports import free_port

SECRET = "s3cret-of-the-database"


def refusal(pillar: dict[str, Any]) -> str:
    """Return the one sentence that each function says."""
    sentences = set()
    config = deposit_config.load(pillar, {})
    for function in (
        lambda _, s: deposits.status(s, 1),
        lambda c, s: clients.save(c, s, "any", {"email": "a@example.com"}, create=False),
        lambda c, s: reschedule.reschedule(c, s, ids=[1]),
        migrations.migrate,
    ):
        with pytest.raises(KingfisherError) as error:
            function(config, server_file.read(config))
        sentences.add(str(error.value))
    [sentence] = sentences
    assert "\n" not in sentence
    assert SECRET not in sentence
    return sentence


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be somebody who may not read everything, for a while."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_configuration_file_that_is_missing() -> None:
    assert refusal({"configuration_file": "/nowhere/server.yml"}) == (
        "deposit:configuration_file: there is no file /nowhere/server.yml: salt 'ID' state.apply swh.deposit, or "
        "correct the setting"
    )


def test_a_configuration_file_that_is_not_readable(tmp_path: Path) -> None:
    path = tmp_path / "server.yml"
    path.write_text("private: {}")
    path.chmod(0)
    with as_nobody():
        sentence = refusal({"configuration_file": str(path)})
    assert (
        f"{path} cannot be read (Permission denied): run this as root, or as a member of the file's group" in sentence
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"private:\n  db:\n   password: '{SECRET}\n", "is not YAML, see its line"),
        (f"- {SECRET}\n", "must be a mapping"),
        ("", "must be a mapping"),
        ("\x00", "is not YAML"),
    ],
)
def test_a_configuration_file_that_is_broken(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "server.yml").write_text(text)
    assert message in refusal({"configuration_file": str(tmp_path / "server.yml")})


@pytest.mark.parametrize(
    "key", ["scheduler", "authentication_provider", "private", "private:secret_key", "private:db"]
)
def test_a_configuration_file_without_a_required_key(deposit_server: DepositServer, tmp_path: Path, key: str) -> None:
    changes: dict[str, Any] = {key: None}
    if ":" in key:
        private = deposit_server.private()
        del private[key.partition(":")[2]]
        changes = {"private": private}
    path = deposit_server.write_configuration(tmp_path / "server.yml", **changes)

    sentence = refusal(deposit_server.pillar | {"configuration_file": str(path)})

    assert sentence.startswith(f"{path} does not set {key}")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"port": free_port()}, "Connection refused"),
        ({"name": "no_such_database"}, 'database "no_such_database" does not exist'),
        ({"password": SECRET}, "password authentication failed"),
    ],
)
def test_a_database_that_does_not_answer(
    deposit_server: DepositServer, tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    path = deposit_server.write_configuration(tmp_path / "server.yml", private=deposit_server.private(**wrong))

    sentence = refusal(deposit_server.pillar | {"configuration_file": str(path)})

    assert message in sentence
    assert sentence.endswith(f"private:db in {path}")


def test_a_database_without_tables_is_to_be_migrated(deposit_server: DepositServer, tmp_path: Path) -> None:
    private = deposit_server.private(name=deposit_server.create_database())
    path = deposit_server.write_configuration(tmp_path / "server.yml", private=private)
    config = deposit_config.load(deposit_server.pillar | {"configuration_file": str(path)}, {})

    with pytest.raises(KingfisherError, match="has no table deposit_client: "):
        clients.listing(server_file.read(config))


@pytest.mark.parametrize(
    ("directory", "message"),
    [
        ("/nowhere", "deposit:bin_directory: /nowhere/django-admin cannot be run (No such file or directory)"),
        (str(Path(os.__file__).parents[2] / "bin"), "deposit:bin_directory"),
    ],
)
def test_programs_that_are_not_the_deposits(deposit_server: DepositServer, directory: str, message: str) -> None:
    config = deposit_config.load(deposit_server.pillar | {"bin_directory": directory}, {})
    with pytest.raises(KingfisherError) as error:
        migrations.migrations(config, server_file.read(config))
    assert message in str(error.value)
    with pytest.raises(KingfisherError) as error:
        clients.create_collection(config, server_file.read(config), "never made")
    assert "deposit:bin_directory" in str(error.value)


def test_a_user_that_is_not_there(deposit_server: DepositServer) -> None:
    config = deposit_config.load(deposit_server.pillar | {"user": "no-such-user"}, {})
    with pytest.raises(KingfisherError, match="deposit:user: there is no user no-such-user on this server"):
        migrations.migrations(config, server_file.read(config))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs programs as others")
def test_programs_run_as_the_user_in_pillar(deposit_server: DepositServer, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "django-admin").write_text("#!/bin/sh\nid -un >&2; exit 1\n")
    (programs / "django-admin").chmod(0o755)
    for path in (programs, *programs.parents):
        if str(path).startswith("/tmp/"):
            path.chmod(path.stat().st_mode | 0o011)
    settings = {"user": "nobody", "bin_directory": str(programs)}
    config = deposit_config.load(deposit_server.pillar | settings, {})
    with pytest.raises(KingfisherError, match=r"failed \(nobody\)"):
        migrations.migrations(config, server_file.read(config))


def test_a_program_that_does_not_end_is_stopped(deposit_server: DepositServer, tmp_path: Path) -> None:
    program = tmp_path / "django-admin"
    program.write_text("#!/bin/sh\nsleep 1000\n")
    program.chmod(0o755)
    config = deposit_config.load(deposit_server.pillar | {"bin_directory": str(tmp_path), "timeout": 0.2}, {})
    with pytest.raises(KingfisherError, match="and was stopped"):
        migrations.migrations(config, server_file.read(config))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"platform": "staging"}, "deposit:platform must be one of development, production, not 'staging'"),
        ({"bin_directory": "bin"}, "deposit:bin_directory must be an absolute path, not 'bin'"),
        ({"stuck_hours": {"load": 1}}, "deposit:stuck_hours:load is not a setting: did you mean loading?"),
        ({"clients": "hal"}, "deposit:clients must be dict, not a secret of another type"),
    ],
)
def test_settings_that_are_wrong(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(KingfisherError) as error:
        deposit_config.load(settings, {})
    assert str(error.value) == message


@pytest.mark.parametrize("given", ["abc", "12a", "", 0, -1, 1.5, True, [], ["1", "x"], "1,,2", 2**63, "١"])
def test_an_id_that_is_no_number(given: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        reschedule.parse_ids(given)


@pytest.mark.parametrize(("given", "ids"), [(7, [7]), ("7", [7]), ("7, 8", [7, 8]), ([7, "8", 7], [7, 8])])
def test_ids(given: Any, ids: list[int]) -> None:
    assert reschedule.parse_ids(given) == ids
