"""Reading the log of a crawl: what it says, what it can't be made to say, and what it costs."""

# ruff: noqa: DTZ001 # naive, like the names of crawl directories

import ast
import os
import pprint
import re
import tracemalloc
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kingfisher_salt import reprs, scrapy_log
from kingfisher_salt.scrapy_log import LogFacts, read_begin, read_log

NOT_SET = "{'sample': None, 'note': None, 'from_date': None, 'crawl_time': None, 'truncate': False, 'steps': ''}"


def line(text: str, *, time: str = "2021-03-04 05:06:07") -> str:
    return f"{time} {text}\n"


def arguments(text: str = NOT_SET, **kwargs: Any) -> str:
    return line(f"[a_spider] INFO: Spider arguments: {text}", **kwargs)


def scraped(item: str, *, url: str = "https://example.com/1") -> str:
    return line(f"[scrapy.core.scraper] DEBUG: Scraped from <200 {url}>") + f"{item}\n"


def stats(
    reason: str = "finished", start_time: str = "datetime.datetime(2021, 3, 4, 5, 6, 8, 999999)", **kwargs: Any
) -> str:
    values = "".join(f" {key!r}: {value!r},\n" for key, value in kwargs.items())
    return line("[scrapy.statscollectors] INFO: Dumping Scrapy stats:") + (
        f"{{'elapsed_time_seconds': 1.5,\n 'finish_reason': {reason!r},\n{values} 'start_time': {start_time}}}\n"
    )


def closed(reason: str = "finished") -> str:
    return line(f"[scrapy.core.engine] INFO: Spider closed ({reason})")


STARTED = line("[scrapy.utils.log] INFO: Scrapy 2.12.0 started (bot: kingfisher_scrapy)")
OPENED = line("[scrapy.core.engine] INFO: Spider opened")
RETRIEVAL_ERROR = line("[a_spider] ERROR: status=503 message='' request=<GET https://example.com/2> file_name=2.json")
FILE = "{'file_name': '1.json', 'url': 'https://example.com/1', 'data_type': 'release_package'}"
FILE_ITEM = "{'number': 7, 'file_name': '1.json', 'url': 'https://example.com/1', 'data_type': 'release_package'}"
FILE_ERROR = "{'file_name': '1.json', 'url': 'https://example.com/1', 'errors': {'http_code': 404}}"
OLD_FILE = (
    "{'data_type': 'release_package_list',\n 'encoding': 'utf-8',\n 'file_name': '1.json',\n 'post_to_api': True,\n"
    " 'url': 'https://example.com/1'}"
)
OLD_FILE_ERROR = "{'errors': {'http_code': 503},\n 'file_name': '1.json',\n 'url': 'https://example.com/1'}"


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a log and returns its path."""

    def write(*parts: str | bytes) -> Path:
        path = tmp_path / "job.log"
        path.write_bytes(b"".join(part if isinstance(part, bytes) else part.encode() for part in parts))
        return path

    return write


def counts(facts: LogFacts) -> tuple[int, int, int]:
    return facts.files, facts.file_items, facts.errors


def test_a_whole_crawl(log: Callable[..., Path]) -> None:
    path = log(
        STARTED,
        arguments("{'sample': None, 'from_date': '2021', '_job': 'abc'}"),
        OPENED,
        scraped(FILE),
        scraped(OLD_FILE),
        scraped(FILE_ITEM),
        RETRIEVAL_ERROR,
        stats(invalid_json_count=2),
        closed(),
    )

    facts = read_log(path)

    assert facts == LogFacts(
        start_time=datetime(2021, 3, 4, 5, 6, 8),
        crawl_time=None,
        first_time=datetime(2021, 3, 4, 5, 6, 7),
        spider_arguments={"from_date": "2021", "_job": "abc"},
        finish_reason="finished",
        files=2,
        file_items=1,
        errors=3,
    )
    assert facts.finished
    assert facts.narrowed_by == ["from_date"]
    assert facts.begin == read_begin(path) == facts.start_time
    assert facts.error_rate == 0.5


def test_an_empty_log_says_nothing(log: Callable[..., Path]) -> None:
    assert read_log(log()) == LogFacts()
    assert read_begin(log()) is None


def test_nothing_at_all_is_all_errors() -> None:
    assert LogFacts().error_rate == 1.0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (FILE, (1, 0, 0)),
        (OLD_FILE, (1, 0, 0)),
        (OLD_FILE.replace("\n", "\r\n"), (1, 0, 0)),
        (FILE_ITEM, (0, 1, 0)),
        (FILE_ERROR, (0, 0, 1)),
        (OLD_FILE_ERROR, (0, 0, 1)),
        ("{'errors': 'a text', 'number': 1, 'data_type': 'x'}", (0, 0, 1)),
        ("{'url': 'https://example.com/1'}", (0, 0, 0)),
        ("{}", (0, 0, 0)),
        ("", (0, 0, 0)),
        # Values that are no literals.
        ("{'url': HttpUrl('https://example.com/'), 'data_type': <DataType.record: 'record'>}", (1, 0, 0)),
        ("{'data_type': 'x', 'at': datetime.datetime(2021, 1, 1, 0, 0)}", (1, 0, 0)),
        # pprint splits long strings at spaces.
        ("{'data_type': 'x',\n 'url': 'https://example.com/ '\n        'errors'}", (1, 0, 0)),
        # Words that are not top-level keys.
        ("{'data_type': 'x', 'file_name': \"'errors': 'number': \"}", (1, 0, 0)),
        ("{'data_type': 'x', 'file_name': '\\'errors\\': 1, \\'number\\': 2'}", (1, 0, 0)),
        ("{'data_type': 'x', 'file_name': '\"errors\": 1}'}", (1, 0, 0)),
        ("{'data_type': 'x', 'file_name': '\\\\', 'number': 1}", (0, 1, 0)),
        ("{'data_type': 'x', 'meta': {'errors': 1, 'number': 2}}", (1, 0, 0)),
        ("{'data_type': 'x', 'meta': ['errors', {'errors': 1}]}", (1, 0, 0)),
        ("{'data_type': 'x', 'key': 'errors'}", (1, 0, 0)),
        ("{'data_type': 'x', b'errors': 1}", (1, 0, 0)),
        ("{'data_type': 'x', 'errors' 'number': 1}", (1, 0, 0)),
        ("{'data_type': 'x', 5: 'errors', 'errors_': 1}", (1, 0, 0)),
        ("{'meta': {'data_type': 'x'}}", (0, 0, 0)),
        # More keys than the short way takes.
        (str({**dict.fromkeys("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ", 1), "number": 1}), (0, 1, 0)),
        # What follows the dict doesn't matter.
        ("{'data_type': 'x'}, 'errors': 1}", (1, 0, 0)),
        ("{'data_type': 'x'}'errors': 1}", (1, 0, 0)),
        # Cut off.
        ("{'data_type': 'x', 'url': 'https://exa", (0, 0, 0)),
        ("{'data_type': 'x',", (0, 0, 0)),
        ("{'data_type': 'x'", (0, 0, 0)),
        ("{'data_type': 'x', 'url': 'https://exa\n 'b': 1}", (0, 0, 0)),
        ("{'data_type': 'x', 'url': 'https://exa\nmple.com'}", (0, 0, 0)),
    ],
)
def test_an_item_is_known_by_its_top_level_keys(given: Any, expected: Any, log: Callable[..., Path]) -> None:
    assert counts(read_log(log(scraped(given)))) == expected
    assert counts(read_log(log(scraped(FILE), scraped(given), scraped(FILE)))) == (expected[0] + 2, *expected[1:])


@pytest.mark.parametrize(
    "given",
    [
        line("[scrapy.core.scraper] WARNING: Dropped: Duplicate file\n" + FILE),
        line("[scrapy.core.scraper] DEBUG: Scraped from <200 https://example.com/1>"),
        line("[scrapy.core.scraper] DEBUG: Scraped from <200 https://example.com/1>\n") + FILE,
        line("[scrapy.crawler] INFO: Overridden settings:\n" + FILE),
        line("[a_spider] DEBUG: [scrapy.core.scraper] DEBUG: Scraped from <200 https://example.com/1>\n" + FILE),
        FILE,
        # Errors of other kinds.
        line("[scrapy.core.scraper] ERROR: Spider error processing <GET https://example.com/1>\nTraceback: status=1"),
        line("[a_spider] ERROR: Couldn't parse status=503 message=''"),
        line("[a_spider] WARNING: status=404 message='' request=<GET https://example.com/1> file_name=1.json"),
        line("[a_spider] INFO: status=404 message='' request=<GET https://example.com/1> file_name=1.json"),
        line("[x] DEBUG: [a_spider] ERROR: status=503 message=''"),
        " " + RETRIEVAL_ERROR,
    ],
)
def test_what_is_no_item_or_retrieval_error(given: Any, log: Callable[..., Path]) -> None:
    assert counts(read_log(log(STARTED, given))) == (0, 0, 0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([closed()], "finished"),
        ([stats("finished")], "finished"),
        ([stats("shutdown"), closed("shutdown")], "shutdown"),
        ([closed("closespider_timeout (3600 s)")], "closespider_timeout (3600 s)"),
        ([], None),
        ([line("[scrapy.core.engine] INFO: Closing spider (finished)")], None),
        # A resumed crawl: the last run counts.
        ([stats("shutdown"), closed("shutdown"), STARTED, OPENED, stats("finished"), closed()], "finished"),
        ([stats("finished"), closed(), STARTED, OPENED, stats("cancelled"), closed("cancelled")], "cancelled"),
        ([stats("finished"), closed(), STARTED, OPENED], None),
        # Words in the wrong place.
        ([scraped(FILE, url="https://example.com/?q=Spider closed (finished)")], None),
        ([line("[scrapy.core.scraper] DEBUG: [scrapy.core.engine] INFO: Spider closed (finished)")], None),
        ([scraped("{'data_type': 'x', 'finish_reason': 'finished'}")], None),
        # Cut off.
        (
            [line("[scrapy.statscollectors] INFO: Dumping Scrapy stats:"), "{'finish_reason': 'finished',\n"],
            "finished",
        ),
        ([line("[scrapy.statscollectors] INFO: Dumping Scrapy stats:"), "{'finish_reason': 'fini"], None),
        ([closed()[:-3]], None),
    ],
)
def test_the_reason_for_which_the_last_run_ended(given: Any, expected: Any, log: Callable[..., Path]) -> None:
    facts = read_log(log(STARTED, OPENED, *given))

    assert facts.finish_reason == expected
    assert facts.finished is (expected == "finished")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("datetime.datetime(2020, 9, 2, 5, 24, 58, 827363)", datetime(2020, 9, 2, 5, 24, 58)),
        ("datetime.datetime(2020, 9, 2, 5, 24)", datetime(2020, 9, 2, 5, 24)),
        ("datetime.datetime(2020, 9, 2, 5, 24, 58, 1, tzinfo=datetime.timezone.utc)", datetime(2020, 9, 2, 5, 24, 58)),
        (
            "datetime.datetime(2020, 9, 2, 5, 24, tzinfo=datetime.timezone(datetime.timedelta(seconds=7200)))",
            datetime(2020, 9, 2, 3, 24),
        ),
        (
            "datetime.datetime(2020, 9, 2, 5, 24, tzinfo=datetime.timezone(-datetime.timedelta(1)))",
            None,
        ),
        ("datetime.datetime(2020, 13, 2)", None),
        ("datetime.datetime(1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(seconds=7200)))", None),
        ("datetime.datetime(2020, 9, 2, **{1: 2})", None),
        ("datetime.date(2020, 9, 2)", None),
        ("datetime.datetime.now()", None),
        ("__import__('os').abort()", None),
        ("datetime.timezone.utc.__class__", None),
        ("'2020-09-02'", None),
        ("datetime.datetime(2020, 9, 2, 5, 24, " + "0" * 2000 + ")", None),
        ("[" * 500 + "]" * 500, None),
        ("-" * 900 + "1", None),
        ("datetime.timezone" + ".utc" * 200, None),
    ],
)
def test_the_start_time_is_read_without_eval(given: Any, expected: Any, log: Callable[..., Path]) -> None:
    facts = read_log(log(stats(start_time=given)))

    assert facts.start_time == expected
    assert facts.finish_reason == "finished"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (NOT_SET, {}),
        ("{}", {}),
        ("{'sample': '10', 'note': 'It\\'s a {note}'}", {"sample": "10", "note": "It's a {note}"}),
        ("{'from_date': datetime.date(2021, 3, 4)}", {"from_date": "2021-03-04"}),
        ("{'from_date': datetime.datetime(2021, 3, 4, 5, 6)}", {"from_date": "2021-03-04T05:06:00"}),
        (
            "{'qs:buyer': 'x', 'year': 2020, 'flag': True, 'ids': ['1']}",
            {"qs:buyer": "x", "year": "2020", "flag": "True", "ids": "['1']"},
        ),
        ("{'zero': 0, 'list': [], 'tuple': (), 'dict': {}, 'text': \"\"}", {}),
        ("{'object': <object at 0x7f>, 'year': '2020'}", {"object": "<object at 0x7f>", "year": "2020"}),
        ("{'evil': __import__('os').abort(), 'year': '2020'}", {"evil": "__import__('os').abort()", "year": "2020"}),
        ("{'note': '\\udcff'}", {"note": "?"}),
        ("{'year': '2020', 'note': 'cut off", {"year": "2020"}),
    ],
)
def test_spider_arguments_are_those_that_are_set(given: Any, expected: Any, log: Callable[..., Path]) -> None:
    assert read_log(log(arguments(given))).spider_arguments == expected


def test_arguments_of_a_resumed_crawl_are_added(log: Callable[..., Path]) -> None:
    first = "{'crawl_time': '2021-01-01T00:00:00', 'year': None}"
    second = "{'crawl_time': '2022-01-01T00:00:00', 'year': '2020'}"

    facts = read_log(log(arguments(first), closed("shutdown"), arguments(second)))

    assert facts.spider_arguments == {"crawl_time": "2021-01-01T00:00:00", "year": "2020"}
    assert facts.begin == datetime(2021, 1, 1)


def test_arguments_are_limited_in_number_and_length(log: Callable[..., Path]) -> None:
    given = {"k" * 5000: "v" * 5000, **{str(n): "x" for n in range(200)}}

    found = read_log(log(arguments(repr(given)) * 2)).spider_arguments

    assert len(found) == 100
    assert max(map(len, [*found, *found.values()])) == 1000


@pytest.mark.parametrize("given", [-5, "5", None])
def test_a_count_that_is_no_count_is_left_out(given: Any, log: Callable[..., Path]) -> None:
    assert read_log(log(stats(invalid_json_count=given))).errors == 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"note": "x", "crawl_time": "2021-01-01T00:00:00", "truncate": "3"}, []),
        ({"until_date": "2021", "from_date": "2020"}, ["from_date", "until_date"]),
        ({"qs:a": "1", "portal": "x"}, ["portal", "qs:a"]),
        (
            {"year": "2020", "start_page": "2", "publisher": "x", "system": "x", "path": "x", "sample": "1"},
            ["path", "publisher", "sample", "start_page", "system", "year"],
        ),
        ({"sample": "true"}, ["sample"]),
        ({"sample": "false"}, []),
    ],
)
def test_arguments_that_narrow_the_crawl(given: Any, expected: Any) -> None:
    assert LogFacts(spider_arguments=given).narrowed_by == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([arguments("{'crawl_time': '2020-01-01T02:03:04'}"), stats()], datetime(2020, 1, 1, 2, 3, 4)),
        ([arguments("{'crawl_time': '2020-01-01'}"), stats()], datetime(2020, 1, 1)),
        ([arguments("{'crawl_time': datetime.datetime(2020, 1, 1, 2, 3, 4)}")], datetime(2020, 1, 1, 2, 3, 4)),
        ([arguments("{'crawl_time': 'yesterday'}"), stats()], datetime(2021, 3, 4, 5, 6, 8)),
        (
            [arguments(), stats(), stats(start_time="datetime.datetime(2023, 1, 1, 0, 0)")],
            datetime(2021, 3, 4, 5, 6, 8),
        ),
        ([arguments()], datetime(2021, 3, 4, 5, 6, 7)),
        ([b"\x00\xff{\n", arguments()], datetime(2021, 3, 4, 5, 6, 7)),
        ([arguments(time="2021-02-30 05:06:07")], None),
        ([b"no time here\n"], None),
    ],
)
def test_a_crawl_begins_at_its_crawl_time_else_start_time_else_first_line(
    given: Any, expected: Any, log: Callable[..., Path]
) -> None:
    path = log(*given)

    assert read_log(path).begin == expected
    assert read_begin(path) == expected


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (stats(), datetime(2021, 3, 4, 5, 6, 8)),
        # Scrapy's statistic is in UTC.
        (stats(start_time="datetime.datetime(2021, 3, 4, 9, 6, 8)"), datetime(2021, 3, 4, 9, 6, 8)),
        # It was resumed.
        (stats(start_time="datetime.datetime(2021, 3, 6, 5, 6, 8)"), datetime(2021, 3, 4, 5, 6, 7)),
        # It was killed.
        ("", datetime(2021, 3, 4, 5, 6, 7)),
        (stats() + "x" * 100_000, datetime(2021, 3, 4, 5, 6, 8)),
    ],
)
def test_the_begin_of_a_huge_log_is_in_its_head_or_tail(
    tail: str, expected: Any, log: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = log(STARTED, arguments())
    with path.open("r+b") as f:
        f.seek(5 * 2**30)  # sparse
        f.write(b"\n" + tail.encode())
    sizes = []
    read_window = scrapy_log._read_window
    monkeypatch.setattr(scrapy_log, "_read_window", lambda *args: sizes.append(args[2]) or read_window(*args))

    assert read_begin(path) == expected
    assert sum(sizes) <= 2 * sum(scrapy_log.WINDOWS)


def test_a_usual_log_takes_64_kib_of_head_and_tail(log: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = log(STARTED, arguments(), scraped(FILE) * 2000, stats(), closed())
    sizes = []
    read_window = scrapy_log._read_window
    monkeypatch.setattr(scrapy_log, "_read_window", lambda *args: sizes.append(args[2]) or read_window(*args))

    assert read_begin(path) == datetime(2021, 3, 4, 5, 6, 8)
    assert sizes == [2**16, 2**16]


def test_the_first_line_can_be_longer_than_what_is_read(log: Callable[..., Path]) -> None:
    path = log(STARTED.rstrip("\n"))
    os.truncate(path, 2**32)

    assert read_begin(path) == datetime(2021, 3, 4, 5, 6, 7)


def test_a_crawl_time_in_the_head_is_enough(log: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = log(arguments("{'crawl_time': '2020-01-01T02:03:04'}"), scraped(FILE) * 1000, stats())
    monkeypatch.setattr(scrapy_log, "WINDOWS", (1000,))
    monkeypatch.setattr(scrapy_log, "SAME_RUN", None)

    assert read_begin(path) == datetime(2020, 1, 1, 2, 3, 4)


@pytest.mark.parametrize("function", [read_log, read_begin])
def test_only_regular_files_are_read(function: Callable[[Path], object], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.log")

    for path in (tmp_path, tmp_path / "fifo.log", tmp_path / "missing.log"):
        with pytest.raises(OSError, match=re.escape(str(path))):
            function(path)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (scraped("{'data_type': 'x', 'y': " + "[" * 80_000 + "]" * 80_000 + "}"), (2, 0, 0)),
        (scraped("{'data_type': 'x', 'y': '" + "\\'" * 80_000 + "'}"), (2, 0, 0)),
        (scraped("{'data_type': 'x', 'y': ''" + "''" * 80_000 + "}"), (2, 0, 0)),
        (scraped("{" + "'x'" * 80_000 + ": 1, 'data_type': 'x'}"), (2, 0, 0)),
        (scraped("{" + "'x': 1, " * 60_000 + "'data_type': 'x'}"), (2, 0, 0)),
        (scraped("{'data_type': 'x'," + "\n " * 80_000 + "}"), (2, 0, 0)),
        # Longer than RECORD_LIMIT.
        (scraped("{'data_type': '" + "x" * 2_000_000 + "'}"), (1, 0, 0)),
        (scraped("{" * 600_000 + "}" * 600_000), (1, 0, 0)),
        (scraped(FILE, url="x" * 2_000_000), (1, 0, 0)),
        (arguments("{" + "'x': '1', " * 40_000 + "}"), (1, 0, 0)),
        (arguments("{" + "".join(f"'{n}': '1', " for n in range(40_000)) + "}") * 3, (1, 0, 0)),
        (RETRIEVAL_ERROR.replace("''", "x" * 2_000_000), (1, 0, 1)),
        (stats().replace("{", "{" + "'x': 1, " * 60_000), (1, 0, 0)),
        # No records at all.
        (b"\0" * 30_000_000, (1, 0, 0)),
        (b"\n" * 10_000_000, (1, 0, 0)),
        (b"\n2021-03-04 05:06:07 " * 500_000, (1, 0, 0)),
        (b"\n2021-03-04 05:06:07 [" * 500_000, (1, 0, 0)),
        (os.urandom(5_000_000), (1, 0, 0)),
    ],
    ids=lambda value: repr(value[-70:])[:40] if isinstance(value, (bytes, str)) else "",
)
def test_hostile_logs_cost_little_memory(given: Any, expected: Any, log: Callable[..., Path]) -> None:
    path = log(given, "\n", scraped(FILE), closed())
    size = path.stat().st_size
    tracemalloc.start()
    try:
        facts = read_log(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert counts(facts) == expected
    assert facts.finished
    assert peak < 30_000_000, f"{peak:,} for {size:,}"
    read_begin(path)


# Properties


HOSTILE = (
    "'errors': {'http_code': 1}, ", '"errors": ', "'number': 3", "}", "{", "\\", "'", '"', "\n", "\r", "\x00", "\x85",
    "é", "\ud800", " ", "Spider closed (finished)", "2021-03-04 05:06:07 [x] ",
    "\n2021-03-04 05:06:07 [a] ERROR: status=1",
)  # fmt: skip
words = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=5), max_size=4).map("".join)
values = st.recursive(
    words
    | st.integers()
    | st.none()
    | st.booleans()
    | st.binary(max_size=3)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.sampled_from(["errors", "number"]) | words, children)
    ),
    max_leaves=5,
)
keys = st.sampled_from(["data_type", "number", "errors", "url", "file_name", "encoding"]) | words
representations = st.builds(
    lambda item, width: repr(item) if width is None else pprint.pformat(item, width=width),
    st.dictionaries(keys, values, max_size=6),
    st.none() | st.integers(10, 100),
)
cut_off = st.builds(lambda text, at: text[: round(at * (len(text) - 1))], representations, st.floats(0, 1))
records = st.one_of(
    representations.map(scraped),
    representations.map(scraped),
    cut_off.map(scraped),
    representations.map(lambda text: line("[scrapy.core.scraper] WARNING: Dropped: a reason\n" + text)),
    st.sampled_from([STARTED, OPENED, RETRIEVAL_ERROR, closed(), closed("shutdown"), arguments(), scraped(FILE)]),
    st.sampled_from([scraped(OLD_FILE), scraped(FILE_ITEM), scraped(FILE_ERROR), stats("cancelled"), stats()]),
    st.text(max_size=20).map(lambda text: line(f"[x] DEBUG: {text}")),
)
logs = st.lists(records, max_size=12).map(lambda parts: "".join(parts).encode(errors="surrogatepass"))
fragments = st.sampled_from(
    [
        "2021-03-04 05:06:07 [scrapy.core.scraper] DEBUG: Scraped from <200 x>\n",
        "2021-03-04 05:06:07 [a] ERROR: status=1 message=", "2021-03-04 05:06:07 [a] INFO: Spider arguments: ",
        "2021-03-04 05:06:07 [scrapy.statscollectors] INFO: Dumping Scrapy stats:\n",
        "'start_time': datetime.datetime(",
        "2021-03-04 05:06:07 [scrapy.core.engine] INFO: Spider ", "'errors'", "'number': 1", "'data_type': 'x'",
        "{", "}", "\n", "\r\n", "'", '"', ",", ":", " ", "\\", "(", ")", "[", "]", "x" * 300, *HOSTILE[:-2],
    ]
)  # fmt: skip
garbage = st.lists(
    fragments.map(lambda text: text.encode(errors="surrogatepass")) | st.binary(max_size=5), max_size=40
).map(b"".join)


def reference(data: bytes) -> dict[str, Any]:
    """Return the counts and the reason, line by line, parsing every dict whole."""
    head = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[([^\]]*)\] (.*)", re.DOTALL)
    found = {"files": 0, "file_items": 0, "errors": 0, "finish_reason": None}
    lines = data.split(b"\n")
    for i, text in enumerate(lines):
        if not (match := head.match(text)):
            continue
        name, message = match.groups()
        if re.match(rb"ERROR: status=\d+ message=", message):
            found["errors"] += 1
        if name == b"scrapy.core.engine" and message == b"INFO: Spider opened":
            found["finish_reason"] = None
        if name == b"scrapy.core.engine" and (reason := re.fullmatch(rb"INFO: Spider closed \((.*)\)", message)):
            found["finish_reason"] = reason[1].decode()
        body = []
        for following in lines[i + 1 :]:
            if head.match(following):
                break
            body.append(following)
        if name == b"scrapy.statscollectors" and (reason := re.search(rb"'finish_reason': '(.*)'", b"\n".join(body))):
            found["finish_reason"] = reason[1].decode()
        if name == b"scrapy.core.scraper" and message.startswith(b"DEBUG: Scraped from "):
            item = first_dict(body)
            if "errors" in item:
                found["errors"] += 1
            elif "number" in item:
                found["file_items"] += 1
            elif "data_type" in item:
                found["files"] += 1
    return found


def first_dict(lines: list[bytes]) -> dict[Any, Any]:
    for end in range(1, len(lines) + 1):
        try:
            value = ast.literal_eval(b"\n".join(lines[:end]).decode(errors="surrogatepass"))
        except (ValueError, SyntaxError, TypeError):
            continue
        return value if isinstance(value, dict) else {}
    return {}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("logs") / "job.log"


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=logs)
def test_counts_agree_with_a_plain_implementation(data: bytes, scratch: Path) -> None:
    scratch.write_bytes(data)

    facts = read_log(scratch)

    expected = reference(data)
    assert {key: getattr(facts, key) for key in expected} == expected


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(
    data=logs | garbage,
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=3),
    limit=st.sampled_from([1500, 2**20]),
)
def test_the_result_does_not_depend_on_how_the_log_is_read(
    data: bytes, sizes: list[int], limit: int, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrapy_log, "RECORD_LIMIT", limit)
    scratch.write_bytes(data)

    expected = read_log(scratch)

    assert all(read_log(scratch, chunk_size=size) == expected for size in [1, 2, 22, *sizes])


@pytest.mark.parametrize("template", ["{'data_type': '%s'}", "{'data_type': \"%s\"}", "{'data_type': 'x'}%s"])
def test_the_limit_of_a_record_does_not_depend_on_how_the_log_is_read(
    template: str, log: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrapy_log, "RECORD_LIMIT", 1500)

    for length in range(1350, 1450):
        path = log(scraped(template % ("x" * length)), scraped(FILE))
        expected = read_log(path)
        assert all(read_log(path, chunk_size=size) == expected for size in (1, 22, 1000, 1499, 1501))


@settings(max_examples=120, deadline=None)
@given(data=garbage | logs | st.binary())
def test_nothing_that_a_log_contains_raises(data: bytes, scratch: Path) -> None:
    scratch.write_bytes(data)

    facts = read_log(scratch)

    assert 0 <= facts.error_rate <= 1
    assert read_begin(scratch) == facts.begin
    assert facts.narrowed_by == sorted(set(facts.narrowed_by) & set(facts.spider_arguments))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=garbage | logs, windows=st.tuples(st.integers(1, 500), st.integers(500, 1000)))
def test_nothing_raises_where_a_window_cuts(
    data: bytes, windows: tuple[int, int], scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrapy_log, "WINDOWS", windows)
    scratch.write_bytes(data)

    begin = read_begin(scratch)

    assert begin is None or isinstance(begin, datetime)


def test_the_limits_are_as_documented() -> None:
    assert scrapy_log.WINDOWS[-1] == 2**20
    for module in (scrapy_log, reprs):
        assert not re.search(r"(?<!literal_)\beval\(", Path(module.__file__).read_text())
