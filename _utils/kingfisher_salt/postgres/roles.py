"""The roles of a server: users, who log in, and groups, which only hold privileges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import scram
from .plan import Plan
from .psql import Psql, literal, name

HIDDEN = "**"
_QUERY = """
SELECT role.rolname AS name, role.rolcanlogin AS login, role.rolreplication AS replication,
    role.rolpassword AS password, role.rolsuper AS superuser,
    ARRAY(
        SELECT held.rolname FROM pg_auth_members JOIN pg_authid AS held ON held.oid = roleid
        WHERE member = role.oid ORDER BY 1
    ) AS groups
FROM pg_authid AS role
WHERE role.rolname !~ '^pg_'
"""


def read(psql: Psql) -> dict[str, dict[str, Any]]:
    """Return the roles of a server, by name."""
    return {row["name"]: row for row in psql.rows(_QUERY)}


def plan(found: Mapping[str, Any], pillar: Mapping[str, Any], ours: Mapping[str, Any], planned: Plan) -> None:
    """
    Add to a plan what makes the roles those of pillar.

    A role that left pillar is not dropped, since it may own something: it may not log in any more.

    :param found: as :func:`read` returns it
    :param ours: what the manifest says of roles that Salt made, by name
    """
    wanted = _wanted(pillar)
    known_groups = {*(pillar.get("groups") or []), *ours}
    for role, want in wanted.items():
        have = found.get(role)
        if have is None:
            planned.do("postgres", f"CREATE ROLE {name(role)}")
        _attributes(role, have, want, bool(ours.get(role, {}).get("password")), planned)
        _groups(role, (have or {}).get("groups", []), want["groups"], known_groups, planned)
    for role in sorted(set(ours) - set(wanted)):
        if role in found:
            _retire(role, found[role], known_groups, planned)


def manifest(pillar: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be remembered of the roles of pillar, and of those that left it."""
    new = {role: {"password": want["password"] is not None} for role, want in _wanted(pillar).items()}
    return {**{role: {"password": False} for role in ours}, **new}


def _wanted(pillar: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {
        group: {"login": False, "replication": False, "password": None, "groups": []}
        for group in pillar.get("groups") or []
    }
    users = {}
    for user, given in (pillar.get("users") or {}).items():
        entry = given or {}
        users[user] = {
            "login": True,
            "replication": bool(entry.get("replication")),
            "password": entry.get("password"),
            "groups": sorted(entry.get("groups") or []),
        }
    return {**groups, **users}


def _attributes(
    role: str, have: Mapping[str, Any] | None, want: Mapping[str, Any], had_password: bool, planned: Plan
) -> None:
    old: dict[str, Any] | None = None
    new: dict[str, Any] = {"login": want["login"], "replication": want["replication"]}
    if have is not None:
        old = {"login": have["login"], "replication": have["replication"]}
    options = [
        option if new[key] else f"NO{option}"
        for key, option in (("login", "LOGIN"), ("replication", "REPLICATION"))
        if (old or {}).get(key) != new[key]
    ]
    stored = have["password"] if have else None
    if want["password"] is not None and not scram.matches(want["password"], stored):
        options.append(f"PASSWORD {literal(scram.verifier(want['password']))}")
        old, new["password"] = _hidden(old, stored), HIDDEN
        # Different from what was, though both are hidden.
        if old is not None and old["password"] == HIDDEN:
            old["password"] = f"{HIDDEN} (another)"
    elif want["password"] is None and had_password and stored:
        options.append("PASSWORD NULL")
        old, new["password"] = _hidden(old, stored), None
    if options:
        planned.do("postgres", f"ALTER ROLE {name(role)} {' '.join(options)}")
        planned.change(f"role {role}", old, new)


def _hidden(old: dict[str, Any] | None, stored: str | None) -> dict[str, Any] | None:
    return None if old is None else {**old, "password": HIDDEN if stored else None}


def _groups(role: str, have: list[str], want: list[str], known: set[str], planned: Plan) -> None:
    """Only memberships in groups of pillar, now or before, are taken away."""
    added = sorted(set(want) - set(have))
    removed = sorted((set(have) & known) - set(want))
    for group in added:
        planned.do("postgres", f"GRANT {name(group)} TO {name(role)}")
    for group in removed:
        planned.do("postgres", f"REVOKE {name(group)} FROM {name(role)}")
    if added or removed:
        after = sorted((set(have) | set(want)) - set(removed))
        planned.change(f"role {role}", {"groups": have}, {"groups": after})


def _retire(role: str, have: Mapping[str, Any], known: set[str], planned: Plan) -> None:
    if have["superuser"]:
        planned.notes.append(f"Role {role} left pillar, and stays as it is, since it is a superuser")
        return
    if have["login"] or have["replication"] or have["password"]:
        planned.do(
            "postgres",
            f"ALTER ROLE {name(role)} NOLOGIN NOREPLICATION PASSWORD NULL",
            f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = {literal(role)}",
        )
        planned.change(f"role {role}", {"login": have["login"]}, {"login": False})
    _groups(role, have["groups"], [], known, planned)
    planned.notes.append(
        f"Role {role} left pillar: it may not log in, and is kept with what it owns, until DROP ROLE {name(role)}"
    )
