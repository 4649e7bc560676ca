"""Returns that are too large for Salt's master."""

from __future__ import annotations

import pytest
from kingfisher_salt.errors import KingfisherError
from kingfisher_salt.fit import fit


def crawls(**decisions: int) -> dict[str, dict[str, str]]:
    return {f"{name}/{n}": {"decision": name} for name, count in decisions.items() for n in range(count)}


def test_a_small_return_stays_as_it_is() -> None:
    result = {"summary": {}, "crawls": crawls(keep=3), "notes": []}
    assert fit(result) == result


def test_what_is_archived_stays_if_there_is_room() -> None:
    result = {"summary": {"crawls": 202}, "crawls": crawls(keep=200, archive=2), "failed": {"x": "y"}, "notes": ["n"]}
    fitted = fit(result, 1000)
    assert fitted["crawls"] == crawls(archive=2)
    assert fitted["failed"] == {"x": "y"}
    assert fitted["summary"] == {"crawls": 202}
    assert fitted["notes"][0] == "n"
    assert fitted["notes"][1].startswith("200 crawls are left out")
    assert result["notes"] == ["n"]


def test_nothing_stays_of_a_list_that_has_no_room() -> None:
    fitted = fit({"summary": {}, "crawls": crawls(archive=200)}, 1000)
    assert fitted["crawls"] == {}
    assert fitted["notes"][0].startswith("200 crawls are left out")


def test_only_as_much_is_left_out_as_has_to_be() -> None:
    result = {"summary": {}, "kept": crawls(keep=200), "deleted": crawls(keep=1)}
    fitted = fit(result, 1000)
    assert fitted["kept"] == {}
    assert fitted["deleted"] == crawls(keep=1)


def test_a_list_that_is_all_there_is_is_refused() -> None:
    with pytest.raises(KingfisherError, match=r"^200 entries are more than a master passes on: ask"):
        fit(crawls(keep=200), 1000)


def test_the_way_out_is_the_functions_own() -> None:
    with pytest.raises(KingfisherError, match=r"passes on: use a smaller limit$"):
        fit(crawls(keep=200), 1000, "use a smaller limit")


def test_text_is_left_alone() -> None:
    assert fit("x" * 2000, 1000) == "x" * 2000
