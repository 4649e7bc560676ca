"""Commands of applications: how they are run, and what becomes of those that fail, hang or say too much."""

from __future__ import annotations

import os
import pwd
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from kingfisher_salt import settings
from kingfisher_salt.apps import application, process
from kingfisher_salt.apps.application import Application, ApplicationError
from kingfisher_salt.apps.config import application as configured
from kingfisher_salt.apps.config import schema
from kingfisher_salt.apps.shell import RaisedError, python

# What Django's shell does: runs its standard input as a whole, or takes it for a keyboard if it comes too late.
SHELL = """
import code, os, sys
print("17 objects imported automatically.")
print("warning: an option is deprecated", file=sys.stderr)
if os.environ["USER"] and sys.argv[1:] != ["shell"]:
    sys.exit(repr(sys.argv))
if {interactive}:
    code.interact(banner="Python", exitmsg="")
else:
    exec(sys.stdin.read(), globals())
"""


def app(*manage: str, directory: Path | None = None, user: str | None = None, timeout: float = 30) -> Application:
    return Application("App", "app", manage or None, directory, "cron", user, timeout)


@pytest.fixture(params=[False, True], ids=["as a whole", "as a keyboard"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Application:
    (tmp_path / "manage.py").write_text(SHELL.format(interactive=request.param))
    return app(sys.executable, "manage.py", directory=tmp_path)


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    status = Path(f"/proc/{pid}/status")
    while status.exists() and "(zombie)" not in status.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# Commands


def test_a_command_is_run_in_the_directory_of_its_owner(tmp_path: Path) -> None:
    output = app("sh", "-c", "pwd; echo $USER $HOME; cat", directory=tmp_path).run(stdin="secret")
    owner = pwd.getpwuid(tmp_path.stat().st_uid)
    assert output.stdout == f"{tmp_path}\n{owner.pw_name} {owner.pw_dir}\nsecret"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may act as another user")
def test_a_command_is_run_as_another_user() -> None:
    assert app("id", user="nobody").run("-un").stdout == "nobody\n"


def test_docker_compose_is_used_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docker").write_text('#!/bin/sh\necho "$@"; pwd')
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setattr(application, "PATH", f"{tmp_path}:/usr/bin:/bin")
    words = app(directory=tmp_path).run("remove", "12").stdout.split()
    name = words.pop(words.index("--name") + 1)
    assert words == [
        *["compose", "run", "--rm", "-T", "--name", "cron", "python", "manage.py", "remove", "12"],
        str(tmp_path),
    ]
    assert name.startswith("kingfisher-cron-")


def test_a_container_that_does_not_end_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docker").write_text('#!/bin/sh\necho "$@" >> calls\n[ "$1" = rm ] || exec sleep 600')
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setattr(application, "PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ApplicationError, match=r"remove 12 did not end within 0\.5 s"):
        app(directory=tmp_path, timeout=0.5).run("remove", "12")
    begun, removed = (tmp_path / "calls").read_text().splitlines()
    assert removed == f"rm --force {begun.split()[5]}"


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/child; wait"
    with pytest.raises(ApplicationError, match=r"App: hang did not end within 0\.5 s, .* raise app:timeout"):
        app("sh", "-c", script, "sh", timeout=0.5).run("hang")
    wait_until_gone(int((tmp_path / "child").read_text()))


def test_a_command_that_does_not_heed_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.2)
    with pytest.raises(ApplicationError, match="did not end within"):
        app("sh", "-c", "trap '' TERM; sleep 600 & wait; wait", timeout=0.5).run()


def test_a_child_that_stays_does_not_keep_us_waiting(tmp_path: Path) -> None:
    output = app("sh", "-c", f"setsid sleep 600 & echo $! > {tmp_path}/child; echo done").run()
    os.kill(int((tmp_path / "child").read_text()), 9)
    assert output.stdout == "done\n"


def test_only_the_end_of_a_long_output_is_kept() -> None:
    output = app("sh", "-c", "head -c 3000000 /dev/zero; echo end").run(limit=1000)
    assert len(output.stdout) == 1000
    assert output.stdout.endswith("end\n")
    assert output.cut


def test_a_command_need_not_read_what_it_is_given() -> None:
    assert app("true").run(stdin="x" * 5_000_000).code == 0


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["false"], "App: remove 12 was ended with exit code 1: it said nothing: correct it, and run this again"),
        (["sh", "-c", "kill -9 $$"], "App: remove 12 was ended by signal 9: it said nothing"),
        (["sh", "-c", "printf '\\033[31mno\\033[0m\\n\\n' >&2; exit 3"], "with exit code 3: no: correct it"),
        (["sh", "-c", "echo pg://app:hunter2@db/app >&2; exit 1"], "pg://app:**@db/app"),
        (["/no/such/manage.py"], "App: /no/such/manage.py: No such file or directory: correct .* (app:manage)"),
    ],
)
def test_a_command_that_fails_gives_one_sentence(command: list[str], expected: str) -> None:
    with pytest.raises(ApplicationError) as error:
        app(*command).run("remove", "12")
    assert all(part in str(error.value) for part in expected.split(" .* "))
    assert "\n" not in str(error.value)


def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ApplicationError, match=r"missing \(app:directory\): No such file or directory: correct it"):
        app(directory=tmp_path / "missing").run("remove")


def test_a_user_that_is_missing_is_named() -> None:
    with pytest.raises(ApplicationError, match="app:user: there is no user no-such-user on this server"):
        app("true", user="no-such-user").run("remove")


def test_a_nul_is_refused() -> None:
    with pytest.raises(ApplicationError, match="NUL character"):
        app("true").run("a\0b")


def values(**pillar: Any) -> tuple[dict[str, Any], list[str]]:
    return settings.read(schema("cron", 60), pillar, {}, "app")


def test_the_directory_has_a_default_only_for_docker() -> None:
    assert configured(values()[0], "App", "app", "/data/deploy/app").directory == Path("/data/deploy/app")
    assert configured(values(manage=["true"])[0], "App", "app", "/data/deploy/app").directory is None


@pytest.mark.parametrize(
    ("pillar", "expected"),
    [
        ({"manage": []}, "app:manage must be the words of a command"),
        ({"manage": ["python", 3]}, "app:manage must be the words of a command"),
        ({"service": "a b"}, "app:service must be the name of a service"),
        ({"user": "--"}, "app:user must be the name of a user"),
        ({"timeout": 0}, "app:timeout must be greater than 0"),
    ],
)
def test_settings_are_checked(pillar: dict[str, Any], expected: str) -> None:
    problems = values(**pillar)[1]
    assert len(problems) == 1
    assert problems[0].startswith(expected)


# Python


def test_python_returns_what_main_returns(shell: Application) -> None:
    code = (
        "import datetime\ndef main(arguments):\n    print('noise')\n    return [arguments, datetime.date(2026, 1, 31)]"
    )
    arguments = {"text": "é'\"\n{}\\", "number": 1}
    assert python(shell, code, arguments) == [arguments, "2026-01-31"]


def test_python_tells_what_was_raised(shell: Application) -> None:
    with pytest.raises(RaisedError) as error:
        python(shell, "def main(arguments):\n    raise LookupError('no job\\nsecond line')")
    assert (error.value.type, error.value.said) == ("LookupError", "no job\nsecond line")
    assert str(error.value) == "App raised LookupError: no job: correct it, and run this again"


def test_python_tells_what_was_raised_without_credentials(shell: Application) -> None:
    with pytest.raises(RaisedError) as error:
        python(shell, "def main(arguments):\n    raise LookupError('409 for url: http://user:secret@process/api/')")
    assert error.value.said == "409 for url: http://user:**@process/api/"
    assert "secret" not in str(error.value)


def test_python_survives_an_exit_and_a_value_that_is_no_json(shell: Application) -> None:
    with pytest.raises(RaisedError, match="SystemExit"):
        python(shell, "def main(arguments):\n    raise SystemExit(3)")
    assert python(shell, "def main(arguments):\n    return {'set': {1}}") == {"set": "{1}"}


def test_python_without_an_answer_is_an_error(shell: Application) -> None:
    with pytest.raises(ApplicationError, match="shell gave no answer: exit code 3"):
        python(shell, "def main(arguments):\n    import os\n    os._exit(3)")
    with pytest.raises(ApplicationError, match=r"shell gave no answer: exit code 1, can't open file"):
        python(app("sh", "-c", "echo can\\'t open file >&2; exit 1"), "")


def test_python_is_not_in_the_words_of_the_command(tmp_path: Path) -> None:
    (tmp_path / "manage.py").write_text("import sys\nexec(sys.stdin.read())")
    read = "def main(arguments):\n    return open('/proc/self/cmdline').read()"
    words = python(app(sys.executable, "manage.py", directory=tmp_path), read, {"password": "hunter2"})
    assert words.split("\0") == [sys.executable, "manage.py", "shell", ""]
