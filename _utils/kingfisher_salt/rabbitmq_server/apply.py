"""Make the users, virtual hosts, permissions and policies of a server those of pillar."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import manifest
from ..settings import fail, nearest
from .definitions import Control, ControlError, hashed, matches

ROOT = "rabbitmq"
PATH = manifest.DIRECTORY / "rabbitmq.json"
HIDDEN = "**"
_GUEST = "guest"
#: Debian's rabbitmqctl gives its arguments to a shell.
_NAME = re.compile(r"[\w.@:/ -]+")
_RIGHTS = ("configure", "write", "read")


@dataclass
class _Plan:
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: What is imported: only what differs.
    definitions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    #: Arguments of rabbitmqctl, for what is deleted.
    commands: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def put(self, kind: str, entry: dict[str, Any]) -> None:
        self.definitions.setdefault(kind, []).append(entry)


def problems(pillar: Mapping[str, Any]) -> list[str]:
    """Return what a schema cannot tell: each virtual host that is named and not there, and names that cannot be."""
    vhosts = _vhosts(pillar)
    places = [(f"{ROOT}:policies", vhost) for vhost in pillar.get("policies") or {}]
    for user, entry in (pillar.get("users") or {}).items():
        places += [(f"{ROOT}:users:{user}:permissions", vhost) for vhost in entry.get("permissions") or {}]
    found = [
        f"{place}: {vhost} is not in {ROOT}:vhosts{nearest(str(vhost), vhosts)}"
        for place, vhost in places
        if vhost not in vhosts
    ]
    found += [
        f"{place}: {name!r} must be of letters, digits, spaces and . _ @ : / -, for rabbitmqctl"
        for place, names in (
            (f"{ROOT}:users", pillar.get("users") or {}),
            (f"{ROOT}:vhosts", vhosts),
            *((f"{ROOT}:policies:{vhost}", names) for vhost, names in (pillar.get("policies") or {}).items()),
        )
        for name in names
        if not isinstance(name, str) or not _NAME.fullmatch(name)
    ]
    if _GUEST in (pillar.get("users") or {}) and not pillar.get("guest_enabled"):
        found.append(f"{ROOT}:users:guest is removed: rename it, or set {ROOT}:guest_enabled")
    return found


def apply(pillar: Mapping[str, Any], control: Control, *, path: Path = PATH, dry_run: bool = False) -> dict[str, Any]:
    """
    Make them those of pillar, and return ``changes`` and ``notes``.

    What Salt made, and left pillar, is removed: a virtual host only if no message is in it. What others made stays,
    but for the user guest.

    :param pillar: ``rabbitmq``
    :param path: of the manifest
    :param dry_run: whether to change nothing. A server that is not there yet is taken for a new one
    :raises SettingsError: if pillar names virtual hosts that it does not have
    :raises ControlError: if RabbitMQ does not answer, or refuses
    """
    fail(problems(pillar))
    ours = manifest.read(path)
    plan = _Plan()
    try:
        found = control.export()
    except ControlError as e:
        if not dry_run:
            raise
        found = {"users": [{"name": _GUEST}], "vhosts": [{"name": "/"}]}
        plan.notes.append(f"{e}: taken for a new server")
    old_vhosts = [vhost for vhost in ours.get("vhosts", []) if vhost not in _vhosts(pillar)]
    full = _with_messages(control, [vhost for vhost in old_vhosts if vhost in _named(found, "vhosts")])
    _plan_vhosts(found, pillar, old_vhosts, full, plan)
    _plan_users(found, pillar, ours, plan)
    _plan_policies(found, pillar, ours, plan)
    if not dry_run:
        new = _manifest(pillar, full)
        manifest.write(path, _union(ours, new))
        if plan.definitions:
            control.imported(plan.definitions)
        for command in plan.commands:
            control.run(*command)
        manifest.write(path, new)
    return {"changes": plan.changes, "notes": plan.notes}


def _plan_vhosts(
    found: Mapping[str, Any], pillar: Mapping[str, Any], old: Iterable[str], full: Iterable[str], plan: _Plan
) -> None:
    there = _named(found, "vhosts")
    for vhost in _vhosts(pillar):
        if vhost not in there:
            plan.put("vhosts", {"name": vhost})
            plan.changes[f"virtual host {vhost}"] = {"old": None, "new": vhost}
    for vhost in old:
        if vhost in full:
            plan.notes.append(
                f"Virtual host {vhost} left pillar, and is kept, since there are messages in it, until rabbitmqctl "
                f"delete_vhost {vhost}"
            )
        elif vhost in there:
            plan.commands.append(("delete_vhost", vhost))
            plan.changes[f"virtual host {vhost}"] = {"old": vhost, "new": None}


def _plan_users(found: Mapping[str, Any], pillar: Mapping[str, Any], ours: Mapping[str, Any], plan: _Plan) -> None:
    there = _named(found, "users")
    held = {(each["user"], each["vhost"]): _rights(each) for each in found.get("permissions", [])}
    wanted = pillar.get("users") or {}
    for user, entry in wanted.items():
        old_tags, tags = _tags(there.get(user)), sorted(entry.get("tags") or [])
        changed = user not in there or old_tags != tags
        shown_old: dict[str, Any] = {"tags": old_tags} if changed and user in there else {}
        shown_new: dict[str, Any] = {"tags": tags} if changed else {}
        known = user in there and matches(entry["password"], there[user])
        if not known:
            shown_new["password"] = HIDDEN
            if user in there:
                shown_old["password"] = f"{HIDDEN} (another)"
        if changed or not known:
            plan.put(
                "users",
                {
                    "name": user,
                    "password_hash": there[user]["password_hash"] if known else hashed(entry["password"]),
                    "hashing_algorithm": "rabbit_password_hashing_sha256",
                    "tags": tags,
                },
            )
        rights = permissions(entry)
        for vhost, want in rights.items():
            have = held.get((user, vhost))
            if have != want:
                plan.put("permissions", {"user": user, "vhost": vhost, **want})
                shown_old[f"in {vhost}"], shown_new[f"in {vhost}"] = have, want
        for vhost in sorted(vhost for who, vhost in held if who == user and vhost not in rights):
            plan.commands.append(("clear_permissions", "--vhost", vhost, user))
            shown_old[f"in {vhost}"], shown_new[f"in {vhost}"] = held[user, vhost], None
        if shown_new:
            plan.changes[f"user {user}"] = {"old": shown_old if user in there else None, "new": shown_new}
    gone = [user for user in ours.get("users", []) if user not in wanted]
    if not pillar.get("guest_enabled"):
        gone.append(_GUEST)
    for user in gone:
        if user in there:
            plan.commands.append(("delete_user", user))
            plan.changes[f"user {user}"] = {"old": user, "new": None}


def _plan_policies(found: Mapping[str, Any], pillar: Mapping[str, Any], ours: Mapping[str, Any], plan: _Plan) -> None:
    there = {
        (each["vhost"], each["name"]): {key: each[key] for key in ("pattern", "definition", "apply-to", "priority")}
        for each in found.get("policies", [])
    }
    wanted = _policies(pillar)
    for (vhost, name), want in wanted.items():
        have = there.get((vhost, name))
        if have != want:
            plan.put("policies", {"vhost": vhost, "name": name, **want})
            plan.changes[f"policy {name} in {vhost}"] = {"old": have, "new": want}
    for vhost, name in ours.get("policies", []):
        if (vhost, name) in there and (vhost, name) not in wanted:
            plan.changes[f"policy {name} in {vhost}"] = {"old": there[vhost, name], "new": None}
            if ("delete_vhost", vhost) not in plan.commands:
                plan.commands.append(("clear_policy", "--vhost", vhost, name))


def permissions(entry: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return what a user of pillar may do, by virtual host."""
    if entry.get("permissions") is not None:
        return {
            vhost: {right: given.get(right, "^$") for right in _RIGHTS}
            for vhost, given in entry["permissions"].items()
        }
    some = ".*" if entry.get("write") else "^$"
    return {"/": {"configure": some, "write": some, "read": ".*"}}


def _policies(pillar: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (vhost, name): {
            "pattern": given["pattern"],
            "definition": given["definition"],
            "apply-to": given.get("apply_to", "all"),
            "priority": given.get("priority", 0),
        }
        for vhost, policies in (pillar.get("policies") or {}).items()
        for name, given in policies.items()
    }


def _vhosts(pillar: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(["/", *(pillar.get("vhosts") or [])]))


def _named(found: Mapping[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in found.get(kind, [])}


def _tags(found: Mapping[str, Any] | None) -> list[str]:
    tags = (found or {}).get("tags") or []
    # Older servers write them as one text.
    return sorted(tags.split(",") if isinstance(tags, str) else tags)


def _rights(each: Mapping[str, Any]) -> dict[str, str]:
    return {right: each[right] for right in _RIGHTS}


def _with_messages(control: Control, vhosts: Iterable[str]) -> list[str]:
    full = []
    for vhost in vhosts:
        counts = control.run("list_queues", "--vhost", vhost, "--no-table-headers", "messages")
        if any(line.strip() not in ("", "0") for line in counts.splitlines()):
            full.append(vhost)
    return full


def _manifest(pillar: Mapping[str, Any], kept: Iterable[str]) -> dict[str, Any]:
    """Return what is to be remembered. What is the server's own from the start is not ours."""
    return {
        "users": sorted(user for user in pillar.get("users") or {} if user != _GUEST),
        "vhosts": sorted({*(pillar.get("vhosts") or []), *kept} - {"/"}),
        "policies": sorted(map(list, _policies(pillar))),
    }


def _union(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    policies = {tuple(each) for content in (old, new) for each in content.get("policies", [])}
    return {
        **{kind: sorted({*old.get(kind, []), *new[kind]}) for kind in ("users", "vhosts")},
        "policies": sorted(map(list, policies)),
    }
