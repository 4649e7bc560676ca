"""Pillar ``rabbitmq``, as far as the server goes."""

from __future__ import annotations

from typing import Any

from .. import checks
from ..settings import REQUIRED, Key


def _priority(value: int) -> str | None:
    return None if value >= 0 else "must be 0 or more"


def _tags(values: list[Any]) -> str | None:
    known = ("administrator", "impersonator", "management", "monitoring", "policymaker")
    wrong = [value for value in values if value not in known]
    return f"must be a list of {', '.join(known)}" if wrong else None


def _permissions(values: dict[Any, Any]) -> str | None:
    for given in values.values():
        if not isinstance(given, dict) or not set(given) <= {"configure", "write", "read"}:
            return "must be a mapping of virtual hosts to configure, write, read"
        if not all(isinstance(value, str) for value in given.values()):
            return "must have regular expressions for configure, write, read"
    return None


def _policies(values: dict[Any, Any]) -> str | None:
    for policies in values.values():
        if not isinstance(policies, dict):
            return "must be a mapping of virtual hosts to mappings of policies"
        for policy in policies.values():
            if not isinstance(policy, dict) or not {"pattern", "definition"} <= set(policy):
                return "must have pattern and definition for each policy"
            if unknown := set(policy) - {"pattern", "definition", "apply_to", "priority"}:
                return f"must not have {', '.join(sorted(map(str, unknown)))} in a policy"
    return None


USER = {
    "password": Key(default=REQUIRED, secret=True),
    # Without one, it has no access to the management interface.
    "tags": Key((list,), [], _tags),
    # In the virtual host /: whether it may declare and publish. It may read.
    "write": Key((bool,), False),
    # By virtual host, regular expressions for configure, write and read, in place of `write`.
    "permissions": Key((dict,), None, _permissions),
}
SCHEMA = {
    "repository": Key(
        (dict,),
        None,
        keys={
            "name": Key(default=REQUIRED, check=checks.one_line),
            "key_url": Key(),
        },
    ),
    # Options of rabbitmq.conf.
    "configuration": Key((dict,), {}),
    "guest_enabled": Key((bool,), False),
    "users": Key((dict,), {}, each=USER),
    "vhosts": Key((list,), [], checks.texts),
    # By virtual host, then by name.
    "policies": Key((dict,), {}, _policies),
}
