"""Cardinal's results as rows: a flag for each contracting process, and for each organization in it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import KingfisherError

COLUMNS = ("ocid", "subject", "code", "result", "buyer_id", "procuring_entity_id", "tenderer_id")

#: Where ``ocdscardinal indicators --map`` says in which contracting processes an organization was flagged, by the
#: indicator. https://cardinal.readthedocs.io/en/latest/cli/indicators/
_TENDERER = {code: f"ocid_tenderer_{code.lower()}" for code in ("R024", "R028", "R030", "R035", "R058")}
_MAPS: dict[str, tuple[str, Any]] = {
    "Buyer": ("buyer_id", lambda code: f"ocid_buyer_{code.lower()}"),
    "ProcuringEntity": ("procuring_entity_id", lambda code: f"ocid_procuringentity_{code.lower()}"),
    "Tenderer": ("tenderer_id", lambda code: _TENDERER.get(code, "ocid_tenderer")),
}


def write_flags(found: Path, target: Path) -> None:
    """
    Write the rows, as COPY reads them.

    :raises KingfisherError: if what was found is not what Cardinal writes
    """
    try:
        results = json.loads(found.read_bytes())
        with target.open("w", encoding="utf-8", newline="\n") as file:
            for row in _rows(results):
                file.write("\t".join(_cell(row.get(column)) for column in COLUMNS) + "\n")
    except (ValueError, AttributeError, TypeError) as e:
        raise KingfisherError(f"{found} is not what ocdscardinal indicators --map writes: {e}: update one") from e


def _rows(results: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for ocid, flags in results.get("OCID", {}).items():
        for code, result in flags.items():
            yield {"ocid": ocid, "subject": "OCID", "code": code, "result": result}
    processes = _processes(results.get("Maps", {}))
    for subject, (column, map_name) in _MAPS.items():
        for organization, flags in results.get(subject, {}).items():
            for code, result in flags.items():
                for ocid in processes[map_name(code)].get(organization, ()):
                    yield {"ocid": ocid, "subject": subject, "code": code, "result": result, column: organization}


def _processes(maps: dict[str, Any]) -> dict[str, dict[str, list[str]]]:
    """Return the contracting processes of each organization, by map. Cardinal has it the other way around."""
    processes: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, mapping in maps.items():
        for ocid, organizations in mapping.items():
            # A contracting process has one buyer, and several tenderers.
            for organization in organizations if isinstance(organizations, list) else [organizations]:
                processes[name][organization].append(ocid)
    return processes


def _cell(value: Any) -> str:
    if value is None:
        return "\\N"
    text = str(value)
    for character, escaped in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(character, escaped)
    return text
