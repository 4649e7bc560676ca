"""What is wrong with sections of pillar is told at once, by what their schemas say and by what they cannot."""

from __future__ import annotations

from typing import Any

import pytest
from kingfisher_salt.roles import check
from kingfisher_salt.roles.schemas import SECTIONS

LINES = "5\n* * * * * root id"
APP = {"user": "app", "git": {"url": "https://git.example/app.git"}}


def problems(pillar: dict[str, Any]) -> list[str]:
    def get(path: str) -> Any:
        found: Any = pillar
        for name in path.split(":"):
            found = found.get(name) if isinstance(found, dict) else None
        return found

    return check.problems(get, [], SECTIONS)


@pytest.mark.parametrize(
    ("pillar", "place"),
    [
        ({"kingfisher_collect": {"mailto": LINES}}, "kingfisher_collect:mailto"),
        ({"kingfisher_archive": {"schedule": {"hour": LINES}}}, "kingfisher_archive:schedule:hour"),
        ({"kingfisher_archive": {"schedule": {"minute": "5 *"}}}, "kingfisher_archive:schedule:minute"),
        ({"kingfisher_archive": {"schedule": {"user": LINES}}}, "kingfisher_archive:schedule:user"),
        ({"postgres": {"backup": {"type": "script", "hour": LINES}}}, "postgres:backup:hour"),
        ({"postgres": {"backup": {"type": "script", "minute": ""}}}, "postgres:backup:minute"),
        (
            {"python_apps": {"a": {**APP, "cron": {"b": {"command": "x", "month": LINES}}}}},
            "python_apps:a:cron:b:month",
        ),
        ({"deposit": {"server": {"check": {"health": {"cron": LINES}}}}}, "deposit:server:check:health:cron"),
        ({"deposit": {"server": {"check": {"mailto": LINES}}}}, "deposit:server:check:mailto"),
    ],
)
def test_what_goes_into_a_cron_file_cannot_begin_another_field_or_line(pillar: dict[str, Any], place: str) -> None:
    assert [problem for problem in problems(pillar) if problem.startswith(f"{place} must be ")]


@pytest.mark.parametrize("hour", [0, "*/5", "1-5,7", "mon-fri"])
def test_a_field_of_a_cron_file(hour: Any) -> None:
    assert problems({"postgres": {"backup": {"type": "script", "hour": hour}}}) == []


def test_a_schedule_of_the_deposit_may_be_none() -> None:
    assert problems({"deposit": {"server": {"check": {"health": {"cron": ""}}}}}) == []


@pytest.mark.parametrize(
    ("pillar", "told"),
    [
        (
            {"postgres": {"verson": 17, "databases": {"a": {"user": "b"}}}},
            {
                "postgres:verson is not a setting: did you mean version?",
                "postgres:databases:a:user: b is not in postgres:users",
            },
        ),
        (
            {"postgres": {"databases": {"a": {"usr": "b"}}}},
            {"postgres:databases:a:usr is not a setting: did you mean user?", "postgres:databases:a:user is not set"},
        ),
        (
            {"rabbitmq": {"vhost": [], "policies": {"a": {}, "b": {5: {"pattern": "x", "definition": {}}}}}},
            {
                "rabbitmq:vhost is not a setting: did you mean vhosts?",
                "rabbitmq:policies: a is not in rabbitmq:vhosts (known: /)",
                "rabbitmq:policies: b is not in rabbitmq:vhosts (known: /)",
                "rabbitmq:policies:b: 5 must be of letters, digits, spaces and . _ @ : / -, for rabbitmqctl",
            },
        ),
        ({"rabbitmq": {"users": ["a"]}}, {"rabbitmq:users must be dict, not ['a']"}),
        ({"docker_apps": ["registry"]}, {"docker_apps must map names of applications to settings"}),
        ({"docker": {"user": "a"}}, {"docker:uid is not set"}),
    ],
)
def test_what_a_schema_cannot_tell_is_told_with_it(pillar: dict[str, Any], told: set[str]) -> None:
    assert set(problems(pillar)) == told


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        ({"proceses": 2}, "deposit:server:proceses is not a setting: did you mean processes?"),
        ({"workers": {"loader": 5}}, "deposit:server:workers must have settings for loader, or False"),
        (
            {"workers": {"loader": {"concurency": 5}}},
            "deposit:server:workers must not have concurency for loader, which",
        ),
        ({"workers": {"loader": False, "checker": None}}, None),
    ],
)
def test_the_deposit(server: dict[str, Any], problem: str | None) -> None:
    found = problems({"deposit": {"server": server}})
    assert [each[: len(problem or "")] for each in found] == ([problem] if problem else [])
