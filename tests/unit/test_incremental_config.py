"""Pillar ``python_apps:kingfisher_collect``: each kind of mistake is found, and told with its place."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from kingfisher_salt.incremental import config
from kingfisher_salt.incremental.arguments import ArgumentsError, parse

CRAWLS = "python_apps:kingfisher_collect:crawls"
SPIDERS = {"dominican_republic_api", "ecuador_sercop_bulk", "rwanda_api"}
# Seed 002, and what runs in production.
CRAWL = {"identifier": "DOMINICAN_REPUBLIC", "spider": "dominican_republic_api", "crawl_time": "2023-07-13"}
ECUADOR = {"identifier": "ECUADOR", "spider": "ecuador_sercop_bulk", "crawl_time": "2015-01-01"}


def load(*crawls: Any, **settings: Any) -> tuple[config.Config | None, list[str]]:
    pillar = {"user": "incremental", "crawls": list(crawls), "cardinal": {"binary": "/bin/true"}, **settings}
    return config.load(pillar, SPIDERS)


def one(**changes: Any) -> config.Crawl:
    loaded, problems = load({**CRAWL, **changes})
    assert problems == []
    assert loaded
    return loaded.crawls[0]


def test_the_crawls_of_the_runbook_are_read() -> None:
    crawl = one(spider_arguments="-a compile_releases=true", cardinal=True, users=["dgcp"], day=1)
    assert crawl == config.Crawl(
        "DOMINICAN_REPUBLIC",
        "dominican_republic_api",
        "2023-07-13",
        arguments={"compile_releases": "true"},
        cardinal=True,
        users=("dgcp",),
        day=1,
    )
    assert crawl.relative_directory == "dominican_republic_api/20230713_000000"
    assert crawl.tables == tuple(f"dominican_republic_api{suffix}" for suffix in ("", "_clean", "_result"))


def test_a_table_name_is_the_argument_of_kingfisher_collect() -> None:
    assert one(spider_arguments="-a table_name=dominican").tables == ("dominican",)


def test_a_date_without_quotes_is_the_same() -> None:
    assert one(crawl_time=datetime.date(2023, 7, 13)) == one()


def test_settings_are_text() -> None:
    given = {"HTTPPROXY_ENABLED": True, "DOWNLOAD_DELAY": 0.5, "USER_AGENT": "100% 'ours'"}
    assert one(settings=given).settings == {
        "HTTPPROXY_ENABLED": "True",
        "DOWNLOAD_DELAY": "0.5",
        "USER_AGENT": "100% 'ours'",
    }


def test_defaults_are_those_of_the_production_server() -> None:
    loaded, _ = load(CRAWL)
    assert loaded
    assert str(loaded.directory) == "/home/incremental"
    assert str(loaded.virtualenv) == "/home/incremental/kingfisher-collect/.ve"
    assert loaded.cron == {"file": "/etc/cron.d/kingfisher-incremental", "hour": 0, "minute": 15, "mailto": None}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"identifier": None}, "0:identifier is not set"),
        ({"identifier": "Dominican"}, "0:identifier must be in upper case, with words separated by _, like DOMINICAN"),
        ({"identifier": "DOMINICAN-REPUBLIC"}, "0:identifier must be in upper case"),
        ({"identifier": "../ROOT"}, "0:identifier must be in upper case"),
        ({"identifier": "A_"}, "0:identifier must be in upper case"),
        ({"spider": None}, "0:spider is not set"),
        (
            {"spider": "dominican_republic"},
            "0:spider dominican_republic is not in the checkout: did you mean dominican_republic_api?",
        ),
        ({"crawl_time": None}, "0:crawl_time is not set"),
        ({"crawl_time": "2023-7-13"}, "0:crawl_time must be a date like '2025-05-06', not '2023-7-13'"),
        ({"crawl_time": "2023-02-29"}, "0:crawl_time must be a date like"),
        ({"crawl_time": "2023-07-13T00:00:00"}, "0:crawl_time must be a date like"),
        ({"crawl_time": datetime.datetime(2023, 7, 13)}, "0:crawl_time must be a date like"),  # noqa: DTZ001
        ({"crawl_time": 20230713}, "0:crawl_time must be text or "),
        ({"day": 0}, "0:day must be from 1 to 28, the days that every month has"),
        ({"day": 29}, "0:day must be from 1 to 28, the days that every month has"),
        ({"day": "1"}, "0:day must be a whole number, not '1'"),
        ({"day": True}, "0:day must be a whole number, not True"),
        ({"cardinal": "yes"}, "0:cardinal must be True or False, not 'yes'"),
        ({"users": "dgcp"}, "0:users must be a list, not 'dgcp'"),
        ({"users": ["dgcp; DROP TABLE x"]}, "0:users:0 must be the name of a PostgreSQL role, like dgcp"),
        ({"users": ["dgcp", 7]}, "0:users:1 must be the name of a PostgreSQL role"),
        ({"users": ["a" * 64]}, "0:users:0 must be the name of a PostgreSQL role"),
        ({"users": ["public"]}, "0:users:0 public is PostgreSQL's own"),
        ({"users": ["pg_read_all_data"]}, "0:users:0 pg_read_all_data is PostgreSQL's own"),
        ({"spider_arguments": "compile_releases=true"}, "0:spider_arguments must be like -a NAME=VALUE, and 'compile"),
        (
            {"spider_arguments": "-a compile_releases"},
            "0:spider_arguments must be like -a NAME=VALUE, and 'compile_rel",
        ),
        ({"spider_arguments": "-a 'note=x"}, "0:spider_arguments cannot be read: no closing quotation"),
        ({"spider_arguments": "-a"}, "0:spider_arguments ends with -a, and NAME=VALUE is missing"),
        (
            {"spider_arguments": "-s A=1"},
            "0:spider_arguments has -s: put Scrapy settings under settings, as NAME: VAL",
        ),
        ({"spider_arguments": "-a x=1 -a x=2"}, "0:spider_arguments sets x twice"),
        ({"spider_arguments": "-a x=1; rm -rf /"}, "0:spider_arguments must be like -a NAME=VALUE, and 'rm' is"),
        (
            {"spider_arguments": "-a crawl_time=2020-01-01"},
            "0:spider_arguments may not set crawl_time: it has a key of",
        ),
        (
            {"spider_arguments": "-a name=other"},
            "0:spider_arguments may not set name: spider decides",
        ),
        (
            {"spider_arguments": "-a -x=1"},
            "0:spider_arguments has -a -x=1, which Scrapy takes for another option: write -a-x=1",
        ),
        (
            {"spider_arguments": "-a sample=1"},
            "0:spider_arguments may not set sample: an incremental crawl stores all",
        ),
        ({"spider_arguments": "-a table_name='a b'"}, "0:spider_arguments: table_name must have small letters"),
        ({"spider_arguments": ["-a x=1"]}, "0:spider_arguments must be text, not ['-a x=1']"),
        ({"settings": "HTTPPROXY_ENABLED=True"}, "0:settings must be dict"),
        ({"settings": {"httpproxy": 1}}, "0:settings: a Scrapy setting is in upper case, like HTTPPROXY_ENABLED"),
        (
            {"settings": {"FILES_STORE": "/x"}},
            "0:settings may not set FILES_STORE: python_apps:kingfisher_collect:direc",
        ),
        ({"settings": {"A": [1]}}, "0:settings:A must be text, a number, True or False, not [1]"),
        ({"settings": {"A": "x\ny"}}, "0:settings:A must be on one line"),
        ({"spider_argument": "-a x=1"}, "0:spider_argument is not a setting: did you mean spider_arguments?"),
    ],
)
def test_a_mistake_in_a_crawl_is_one_sentence_with_its_place(changes: dict[str, Any], problem: str) -> None:
    _, problems = load({**CRAWL, **changes})
    assert len(problems) == 1
    assert problems[0].startswith(f"{CRAWLS}:{problem}")


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        ({**ECUADOR, "identifier": "DOMINICAN_REPUBLIC"}, "1:identifier DOMINICAN_REPUBLIC is that of "),
        (
            {**CRAWL, "identifier": "DR", "crawl_time": "2024-01-01"},
            "1:spider: its table dominican_republic_api is that",
        ),
        (
            {**CRAWL, "identifier": "DR", "spider_arguments": "-a table_name=dr"},
            "1:crawl_time: its crawl directory dominican_republic_api/20230713_000000 is that of ",
        ),
    ],
)
def test_crawls_may_not_get_in_each_others_way(other: dict[str, Any], problem: str) -> None:
    _, problems = load(CRAWL, other)
    assert len(problems) == 1
    assert problems[0].startswith(f"{CRAWLS}:{problem}")
    assert f"{CRAWLS}:0 too: " in problems[0]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"user": None}, "user is not set"),
        ({"user": "in cremental"}, "user must be the name of a user of this server"),
        ({"crawls": {"identifier": "X"}}, "crawls must be a list"),
        ({"crawls": ["X"]}, "crawls:0 must be a mapping"),
        ({"crawl": []}, "crawl is not a setting: did you mean crawls?"),
        ({"directory": "home"}, "directory must be an absolute path"),
        ({"program_directory": "/opt/../etc"}, "program_directory must be an absolute path"),
        ({"database": {"port": "5432"}}, "database:port must be a whole number"),
        ({"database": {"password": 7}}, "database:password must be text, not a secret of another type"),
        ({"cron": {"hour": 24}}, "cron:hour must be from 0 to 23, not 24"),
        ({"cron": {"mailto": "a\nb"}}, "cron:mailto must be on one line"),
        ({"env": {"A B": "x"}}, "env: 'A B' cannot be the name of an environment variable"),
        ({"env": {"TOKEN": ["hidden"]}}, "env:TOKEN must be text, a number, True or False, not a secret of another"),
        ({"cardinal": {}}, "cardinal:binary is not set"),
    ],
)
def test_a_mistake_in_the_settings_is_one_sentence_with_its_place(settings: dict[str, Any], problem: str) -> None:
    _, problems = config.load({"user": "incremental", **settings}, SPIDERS)
    assert any(said.startswith(f"python_apps:kingfisher_collect:{problem}") for said in problems), problems
    assert "hidden" not in "".join(problems)


def test_cardinal_needs_its_program() -> None:
    _, problems = load({**CRAWL, "cardinal": True}, cardinal=None)
    assert problems == ["python_apps:kingfisher_collect:cardinal:binary is not set, and a crawl has cardinal: True"]


def test_all_mistakes_are_found_at_once() -> None:
    _, problems = load({**CRAWL, "day": 31, "users": ["public"]}, {**ECUADOR, "spider": "ecuador_bulk"}, CRAWL)
    assert [said.split(" ")[0] for said in problems] == [
        f"{CRAWLS}:0:day",
        f"{CRAWLS}:0:users:0",
        f"{CRAWLS}:1:spider",
    ]


def test_spiders_are_not_checked_before_there_is_a_checkout() -> None:
    _, problems = config.load({"user": "incremental", "crawls": [{**CRAWL, "spider": "new_spider"}]}, None)
    assert problems == []


def test_of_many_spiders_not_all_are_listed() -> None:
    spiders = {f"publisher_{number}" for number in range(400)}
    _, problems = config.load({"user": "incremental", "crawls": [{**CRAWL, "spider": "zzz"}]}, spiders)
    assert problems == [f"{CRAWLS}:0:spider zzz is not in the checkout (it has 400 others: scrapy list)"]


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", {}),
        ("-a compile_releases=true", {"compile_releases": "true"}),
        ("-acompile_releases=true  -a force_version=1.1", {"compile_releases": "true", "force_version": "1.1"}),
        ("-a 'note=100% it'\\''s \"ours\"'", {"note": '100% it\'s "ours"'}),
        ('-a qs:q="a=b&c=$HOME `id`"', {"qs:q": "a=b&c=$HOME `id`"}),
        ("-a x=", {"x": ""}),
        ("-a\n  from_date=2020-01-01\n", {"from_date": "2020-01-01"}),
    ],
)
def test_arguments_are_read_as_a_shell_and_scrapy_would(text: str, arguments: dict[str, str]) -> None:
    assert parse(text) == arguments


@pytest.mark.parametrize("text", ["-a '=1'", "-a 'a=x\ny'", "--logfile=x", "-a x=1 y", "-ax"])
def test_what_is_no_argument_is_refused(text: str) -> None:
    with pytest.raises(ArgumentsError):
        parse(text)
