"""Sources by months: what is archived, on disk only, rejected or missing, at one glance."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import dataclass
from string import Template
from typing import Any

from .decision import REJECT, Period

ARCHIVED = "archived"
ON_DISK = "on disk only"
REJECTED = "rejected"
MISSING = "missing"
SYMBOLS = {ARCHIVED: "A", ON_DISK: "d", REJECTED: "x", MISSING: "."}
_COLOURS = {ARCHIVED: "#2e7d32", ON_DISK: "#f9a825", REJECTED: "#c62828", MISSING: "#eceff1"}
_MONTHS = "JFMAMJJASOND"


@dataclass(frozen=True)
class Coverage:
    """What is known of each month of each source, from the first month to the last."""

    years: list[int]
    #: By source, then by month. Months of which nothing is known are missing.
    states: dict[str, dict[Period, str]]

    def state(self, source_id: str, period: Period) -> str:
        """Return the state of a month, or an empty string outside the source's first and last months."""
        months = self.states[source_id]
        if period in months:
            return months[period]
        return MISSING if min(months) < period < max(months) else ""


def cover(archived: Iterable[tuple[str, Period]], crawls: dict[str, dict[str, Any]]) -> Coverage:
    """
    :param archived: source and month of each archive
    :param crawls: the crawls on disk, by id, with their ``decision``
    """
    states: dict[str, dict[Period, str]] = {}
    for crawl_id, entry in crawls.items():
        source_id, _, version = crawl_id.partition("/")
        period = int(version[:4]), int(version[4:6])
        months = states.setdefault(source_id, {})
        if entry["decision"] != REJECT:
            months[period] = ON_DISK
        else:
            months.setdefault(period, REJECTED)
    for source_id, period in archived:
        states.setdefault(source_id, {})[period] = ARCHIVED
    years = sorted({year for months in states.values() for year, _ in months})
    return Coverage(list(range(years[0], years[-1] + 1)) if years else [], dict(sorted(states.items())))


def text(coverage: Coverage) -> str:
    """Return a table for a terminal: a line for a source, a letter for a month."""
    if not coverage.states:
        return "There are neither crawls nor archives."
    width = max(len("source"), *map(len, coverage.states))
    lines = [
        f"{'':{width}}  {'  '.join(f'{year:<12}' for year in coverage.years)}".rstrip(),
        f"{'source':{width}}  {'  '.join(_MONTHS for _ in coverage.years)}",
    ]
    for source_id in coverage.states:
        years = (
            "".join(_symbol(coverage, source_id, (year, month)) for month in range(1, 13)) for year in coverage.years
        )
        lines.append(f"{source_id:{width}}  {'  '.join(years)}".rstrip())
    lines.append(", ".join(f"{symbol} {state}" for state, symbol in SYMBOLS.items()))
    return "\n".join(lines)


def _symbol(coverage: Coverage, source_id: str, period: Period) -> str:
    return SYMBOLS.get(coverage.state(source_id, period), " ")


_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Archive coverage</title>
<style>
body { font-family: sans-serif; margin: 2em }
table { border-collapse: collapse; font-size: 80% }
th, td { border: 1px solid #fff; min-width: 1.1em; text-align: center }
td:first-child { text-align: left; padding-right: 1em }
$style
</style>
</head>
<body>
<h1>Archive coverage</h1>
<p>Bucket $bucket, $when: $sources sources; months: $totals.</p>
<p>$legend</p>
<table>
<thead>
<tr><th></th>$years</tr>
<tr><th>source</th>$months</tr>
</thead>
<tbody>
$rows
</tbody>
</table>
</body>
</html>
""")


def page(coverage: Coverage, bucket: str, when: str) -> str:
    """Return an HTML page that needs nothing else."""
    states = [state for months in coverage.states.values() for state in months.values()]
    return _PAGE.substitute(
        style="\n".join(f".{_class(state)} {{ background: {colour} }}" for state, colour in _COLOURS.items()),
        bucket=html.escape(bucket),
        when=html.escape(when),
        sources=len(coverage.states),
        totals=", ".join(f"{states.count(state)} {state}" for state in (ARCHIVED, ON_DISK, REJECTED)),
        legend=" ".join(f'<span class="{_class(state)}">&emsp;</span> {state}' for state in SYMBOLS),
        years="".join(f'<th colspan="12">{year}</th>' for year in coverage.years),
        months="".join(f"<th>{letter}</th>" for _ in coverage.years for letter in _MONTHS),
        rows="\n".join(_row(coverage, source_id) for source_id in coverage.states),
    )


def _class(state: str) -> str:
    return state.replace(" ", "-")


def _row(coverage: Coverage, source_id: str) -> str:
    cells = []
    for year in coverage.years:
        for month in range(1, 13):
            state = coverage.state(source_id, (year, month))
            title = html.escape(f"{source_id} {year}-{month:02d}: {state}", quote=True)
            cells.append(f'<td class="{_class(state)}" title="{title}"></td>' if state else "<td></td>")
    return f"<tr><td>{html.escape(source_id)}</td>{''.join(cells)}</tr>"
