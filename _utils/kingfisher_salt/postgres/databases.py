"""The databases of a server: owners, extensions, schemas, and who may read what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .plan import Plan
from .psql import Psql, literal, name

_DATABASES = """
SELECT datname AS name, pg_get_userbyid(datdba) AS owner FROM pg_database WHERE datallowconn AND NOT datistemplate
"""
_EXTENSIONS = "SELECT extname AS name FROM pg_extension"
_GRANTEE = "CASE WHEN grantee = 0 THEN NULL ELSE pg_get_userbyid(grantee) END AS role"
_SCHEMAS = f"""
SELECT nspname AS name, pg_get_userbyid(nspowner) AS owner,
    coalesce((
        SELECT json_agg(json_build_array(role, privilege_type)) FROM (
            SELECT {_GRANTEE}, privilege_type FROM aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
        ) AS held
    ), '[]') AS privileges
FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
"""
_TABLES = f"""
SELECT relname AS name, nspname AS schema,
    ARRAY(
        SELECT role FROM (SELECT {_GRANTEE}, privilege_type FROM aclexplode(relacl)) AS held
        WHERE privilege_type = 'SELECT' AND role IS NOT NULL
    ) AS readers
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relkind IN ('r', 'v', 'm', 'f', 'p') AND nspname IN (%s)
"""
_DEFAULTS = f"""
SELECT pg_get_userbyid(defaclrole) AS owner, nspname AS schema, {_GRANTEE}
FROM pg_default_acl JOIN pg_namespace ON pg_namespace.oid = defaclnamespace, aclexplode(defaclacl)
WHERE defaclobjtype = 'r' AND privilege_type = 'SELECT'
"""

Grant = tuple[str, str, str]


def read(psql: Psql, pillar: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the databases of a server, by name; of those in pillar, with what is in them."""
    found = {row["name"]: row for row in psql.rows(_DATABASES)}
    for database, entry in (pillar.get("databases") or {}).items():
        if database in found:
            schemas = {grant[0] for grant in (*_grants(entry), *_old_grants(ours.get(database)))} or {"public"}
            found[database] |= {
                "extensions": [row["name"] for row in psql.rows(_EXTENSIONS, database)],
                "schemas": {row["name"]: row for row in psql.rows(_SCHEMAS, database)},
                "tables": psql.rows(_TABLES % ", ".join(map(literal, sorted(schemas))), database),
                "defaults": psql.rows(_DEFAULTS, database),
            }
    return found


def plan(found: Mapping[str, Any], pillar: Mapping[str, Any], ours: Mapping[str, Any], planned: Plan) -> None:
    """
    Add to a plan what makes the databases those of pillar.

    A database, schema or extension that left pillar is kept. Privileges that were granted by pillar are revoked.

    :param found: as :func:`read` returns it
    :param ours: what the manifest says of databases that Salt made, by name
    """
    wanted = pillar.get("databases") or {}
    for database, entry in wanted.items():
        have = found.get(database)
        if have is None:
            # Whatever the locale of the server is, and whatever is in template1.
            planned.do(
                None,
                f"CREATE DATABASE {name(database)} OWNER {name(entry['user'])} ENCODING 'UTF8' TEMPLATE template0",
            )
            planned.change(f"database {database}", None, {"owner": entry["user"]})
            have = {"owner": entry["user"], "extensions": ["plpgsql"], "schemas": {}, "tables": [], "defaults": []}
        elif have["owner"] != entry["user"]:
            planned.do("postgres", f"ALTER DATABASE {name(database)} OWNER TO {name(entry['user'])}")
            planned.change(f"database {database}", {"owner": have["owner"]}, {"owner": entry["user"]})
        _inside(database, entry, have, ours.get(database) or {}, planned)
    planned.notes.extend(
        f"Database {database} left pillar, and is kept, until DROP DATABASE {name(database)}"
        for database in sorted(set(ours) - set(wanted))
        if database in found
    )


def manifest(pillar: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be remembered of the databases of pillar, and of those that left it."""
    new = {
        database: {"grants": sorted(map(list, _grants(entry))), "owner": entry["user"]}
        for database, entry in (pillar.get("databases") or {}).items()
    }
    return {**ours, **new}


def _inside(
    database: str, entry: Mapping[str, Any], have: Mapping[str, Any], ours: Mapping[str, Any], planned: Plan
) -> None:
    what, statements = f"database {database}", []
    if extensions := sorted(set(entry.get("extensions") or []) - set(have["extensions"])):
        statements += [f"CREATE EXTENSION IF NOT EXISTS {name(extension)}" for extension in extensions]
        planned.change(what, {"extensions": sorted(have["extensions"])}, {"extensions": extensions})
    schemas = have["schemas"]
    for schema, given in (entry.get("schemas") or {}).items():
        owner = given["name"] if isinstance(given, dict) else given
        old = schemas[schema]["owner"] if schema in schemas else None
        if old is None:
            statements.append(f"CREATE SCHEMA {name(schema)} AUTHORIZATION {name(owner)}")
        elif old != owner:
            statements.append(f"ALTER SCHEMA {name(schema)} OWNER TO {name(owner)}")
        planned.change(what, {f"schema {schema}": old}, {f"schema {schema}": owner})
    # Nobody but the owner, and whom pillar lets, uses the schema public.
    public = _holders(schemas, "public")
    if not schemas or None in public:
        statements.append("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        planned.change(what, {"schema public": "for all"}, {"schema public": "for its owner"})
    if {"USAGE", "CREATE"} - public.get(entry["user"], set()):
        statements.append(f"GRANT ALL ON SCHEMA public TO {name(entry['user'])}")
        planned.change(what, {"privileges in public": None}, {"privileges in public": entry["user"]})
    going = set(_old_grants(ours)) - set(_grants(entry))
    granted = _grant(database, entry, have, going, planned)
    revoked = _revoke(database, entry, have, ours, going, planned)
    if statements := [*statements, *revoked, *granted]:
        planned.do(database, *statements)


def _grant(
    database: str, entry: Mapping[str, Any], have: Mapping[str, Any], going: set[Grant], planned: Plan
) -> list[str]:
    statements = []
    # What is revoked before is not held.
    tables = {
        (row["schema"], row["name"]): {
            role
            for role in row["readers"]
            if going.isdisjoint({(row["schema"], role, ""), (row["schema"], role, row["name"])})
        }
        for row in have["tables"]
    }
    defaults = {(row["owner"], row["schema"], row["role"]) for row in have["defaults"]}
    for schema, role, table in _grants(entry):
        lacks = []
        if "USAGE" not in _holders(have["schemas"], schema).get(role, set()):
            lacks.append(f"GRANT USAGE ON SCHEMA {name(schema)} TO {name(role)}")
        if table:
            readers = tables.get((schema, table))
            if readers is None:
                planned.notes.append(
                    f"Table {schema}.{table} is not in database {database}, so that {role} is not yet granted it: "
                    "apply again when it is there"
                )
            elif role not in readers:
                lacks.append(f"GRANT SELECT ON {name(schema)}.{name(table)} TO {name(role)}")
        else:
            if any(role not in readers for (where, _), readers in tables.items() if where == schema):
                lacks.append(f"GRANT SELECT ON ALL TABLES IN SCHEMA {name(schema)} TO {name(role)}")
            if (entry["user"], schema, role) not in defaults:
                lacks.append(_default(entry["user"], schema, f"GRANT SELECT ON TABLES TO {name(role)}"))
        if lacks:
            statements += [statement for statement in lacks if statement not in statements]
            what = f"{role} reads {schema}.{table or '*'}"
            planned.change(f"database {database}", {what: False}, {what: True})
    return statements


def _revoke(
    database: str,
    entry: Mapping[str, Any],
    have: Mapping[str, Any],
    ours: Mapping[str, Any],
    going: set[Grant],
    planned: Plan,
) -> list[str]:
    statements = []
    wanted, tables = set(_grants(entry)), {(row["schema"], row["name"]) for row in have["tables"]}
    for schema, role, table in sorted(going):
        if schema not in have["schemas"]:
            continue
        if not table:
            statements.append(f"REVOKE SELECT ON ALL TABLES IN SCHEMA {name(schema)} FROM {name(role)}")
            statements.append(_default(ours["owner"], schema, f"REVOKE SELECT ON TABLES FROM {name(role)}"))
        elif (schema, table) in tables:
            statements.append(f"REVOKE SELECT ON {name(schema)}.{name(table)} FROM {name(role)}")
        if not any(grant[:2] == (schema, role) for grant in wanted) and role != entry["user"]:
            statements.append(f"REVOKE USAGE ON SCHEMA {name(schema)} FROM {name(role)}")
        what = f"{role} reads {schema}.{table or '*'}"
        planned.change(f"database {database}", {what: True}, {what: False})
    return statements


def _default(owner: str, schema: str, what: str) -> str:
    return f"ALTER DEFAULT PRIVILEGES FOR ROLE {name(owner)} IN SCHEMA {name(schema)} {what}"


def _grants(entry: Mapping[str, Any]) -> list[Grant]:
    """Return schemas, roles and tables of the privileges in pillar. No list of tables is all, as an empty table."""
    return [
        (schema, role, table)
        for schema, roles in (entry.get("privileges") or {}).items()
        for role, tables in roles.items()
        for table in ([""] if tables is None else tables)
    ]


def _old_grants(ours: Mapping[str, Any] | None) -> list[Grant]:
    return [(schema, role, table) for schema, role, table in (ours or {}).get("grants", [])]


def _holders(schemas: Mapping[str, Any], schema: str) -> dict[str | None, set[str]]:
    held: dict[str | None, set[str]] = {}
    pairs: Iterable[Any] = schemas.get(schema, {}).get("privileges", [])
    for role, privilege in pairs:
        held.setdefault(role, set()).add(privilege)
    return held
