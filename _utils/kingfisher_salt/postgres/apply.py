"""Make the roles and databases of a server those of pillar."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import manifest
from ..settings import fail, nearest
from . import databases, roles
from .plan import Plan
from .psql import Psql, SqlError

ROOT = "postgres"
PATH = manifest.DIRECTORY / "postgres.json"
_ABSENT: dict[str, dict[str, Any]] = {}


def check(pillar: Mapping[str, Any]) -> None:
    """
    Check what a schema does not.

    :raises SettingsError: with every problem
    """
    fail(problems(pillar))


def problems(pillar: Mapping[str, Any]) -> list[str]:
    """Return what a schema does not tell: each role that is named and not there, and a replica without a password."""
    groups, users = set(pillar.get("groups") or []), set(pillar.get("users") or {})
    found = [f"{ROOT}:users:{role} is a group too, in {ROOT}:groups" for role in sorted(groups & users)]
    found += [
        f"{place} must not be {role}, which is PostgreSQL's own"
        for place, names in ((f"{ROOT}:groups", groups), (f"{ROOT}:users", users))
        for role in sorted(names)
        if role in {"postgres", "public", "none"} or role.startswith("pg_")
    ]

    if pillar.get("replication") and not pillar["replication"].get("password"):
        found.append(f"{ROOT}:replication:password is not set: it is that of the primary's {ROOT}:users")

    def known(role: Any, place: str, names: set[str], kind: str) -> None:
        if role not in names:
            found.append(f"{place}: {role} is not in {kind}{nearest(str(role), names) if names else ''}")

    for user, entry in (pillar.get("users") or {}).items():
        for group in (entry or {}).get("groups") or []:
            known(group, f"{ROOT}:users:{user}:groups", groups, f"{ROOT}:groups")
    either = groups | users
    for database, entry in (pillar.get("databases") or {}).items():
        place = f"{ROOT}:databases:{database}"
        known(entry["user"], f"{place}:user", either, f"{ROOT}:users")
        for schema, given in (entry.get("schemas") or {}).items():
            owner = given["name"] if isinstance(given, dict) else given
            known(owner, f"{place}:schemas:{schema}", either, f"{ROOT}:users or {ROOT}:groups")
        schemas = {"public", *(entry.get("schemas") or {})}
        for schema, given in (entry.get("privileges") or {}).items():
            known(schema, f"{place}:privileges", schemas, f"{place}:schemas")
            for role in given:
                known(role, f"{place}:privileges:{schema}", either, f"{ROOT}:users or {ROOT}:groups")
    return found


def apply(pillar: Mapping[str, Any], psql: Psql, *, path: Path = PATH, dry_run: bool = False) -> dict[str, Any]:
    """
    Make roles and databases those of pillar, and return ``changes`` and ``notes``.

    The roles are changed in one transaction, and what is in each database in another. If one fails, the next run goes
    on.

    :param pillar: ``postgres``
    :param path: of the manifest
    :param dry_run: whether to change nothing. A server that is not there yet is taken for an empty one
    :raises SettingsError: if pillar names roles that it does not have
    :raises SqlError: if PostgreSQL does not answer, or refuses a statement
    """
    check(pillar)
    ours = manifest.read(path)
    our_roles, our_databases = ours.get("roles", {}), ours.get("databases", {})
    planned = Plan()
    try:
        found_roles, found_databases = roles.read(psql), databases.read(psql, pillar, our_databases)
    except SqlError as e:
        if not dry_run:
            raise
        found_roles, found_databases = _ABSENT, _ABSENT
        planned.notes.append(f"{e}: taken for a new server")
    roles.plan(found_roles, pillar, our_roles, planned)
    databases.plan(found_databases, pillar, our_databases, planned)
    if not dry_run:
        _carry_out(planned, pillar, ours, psql, path)
    return {"changes": planned.changes, "notes": planned.notes}


def _carry_out(planned: Plan, pillar: Mapping[str, Any], ours: dict[str, Any], psql: Psql, path: Path) -> None:
    new = {
        "roles": roles.manifest(pillar, ours.get("roles", {})),
        "databases": databases.manifest(pillar, ours.get("databases", {})),
    }
    # Before, what may be ours after a power cut; at the end, what is.
    manifest.write(path, _union(ours, new))
    statements = dict(planned.statements)
    if first := statements.pop("postgres", []):
        # An owner has to be there before its database.
        psql.run([each for each in first if not each.startswith("ALTER DATABASE")])
    for statement in statements.pop(None, []):
        psql.run([statement], single=False)
    if owners := [each for each in first if each.startswith("ALTER DATABASE")]:
        psql.run(owners)
    for database, inside in statements.items():
        psql.run(inside, str(database))
    manifest.write(path, new)


def _union(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {"roles": {}, "databases": {}}
    for role in {*old.get("roles", {}), *new["roles"]}:
        both = (old.get("roles", {}).get(role, {}), new["roles"].get(role, {}))
        merged["roles"][role] = {"password": any(each.get("password") for each in both)}
    for database in {*old.get("databases", {}), *new["databases"]}:
        before, after = old.get("databases", {}).get(database, {}), new["databases"].get(database, {})
        grants = {tuple(grant) for each in (before, after) for grant in each.get("grants", [])}
        merged["databases"][database] = {
            "grants": sorted(map(list, grants)),
            "owner": before.get("owner") or after.get("owner"),
        }
    return merged
