"""Who may deposit, and into which collections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import database
from ..errors import KingfisherError
from ..settings import nearest
from . import passwords, tools
from .config import ROOT, Config
from .server_file import Server

#: The fields of a client that are set as they are, and their types.
FIELDS = {
    "first_name": str,
    "last_name": str,
    "email": str,
    "is_active": bool,
    "provider_url": str,
    "domain": str,
}
_SELECT = """
    SELECT u.username, u.first_name, u.last_name, u.email, u.is_active, c.provider_url, c.domain,
           u.date_joined, u.last_login, u.password NOT LIKE '!%%' AND u.password <> '' AS has_password,
           c.collections, (SELECT count(*) FROM deposit d WHERE d.client_id = u.id) AS deposits
    FROM deposit_client c JOIN auth_user u ON u.id = c.user_ptr_id
"""


def listing(server: Server) -> list[dict[str, Any]]:
    """Return all clients, by name, without anything of their passwords but whether there is one."""
    return _read(server, "")


def show(server: Server, username: str) -> dict[str, Any]:
    """
    Return a client.

    :raises KingfisherError: if there is none, with the nearest
    """
    if found := _read(server, "WHERE u.username = %s", username):
        return found[0]
    names = [client["username"] for client in listing(server)]
    raise KingfisherError(f"argument username: there is no client {username}{nearest(username, names)}")


def save(
    config: Config,
    server: Server,
    username: str,
    given: Mapping[str, Any],
    *,
    create: bool,
    pillar_password: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """
    Create a client, or change what is given of one, and leave all else as it is.

    :param given: of :data:`FIELDS`, ``collections``, ``password_file`` and ``password_env``. None is not given
    :param pillar_password: whether the client is to have the password in pillar, unless one is given. It is to have it
        in any case if it is created, or if nothing is given
    :returns: ``username`` and ``changes``, by field. Collections that are missing are created
    :raises KingfisherError: if it cannot be
    """
    fields, collections = _checked(given)
    with server.tables():
        pass  # says in one sentence what is wrong with the database
    if not create:
        show(server, username)
    password = passwords.find(
        config,
        server,
        username,
        {key: given.get(key) for key in passwords.KEYS[1:]},
        pillar=create or pillar_password or not (fields or collections),
    )
    if create and password is None and server.authentication != "keycloak":
        raise KingfisherError(
            f"{ROOT}:clients:{username}:password is not set, nor password_file or password_env, without which "
            f"{username} could not deposit: set one of them"
        )
    if create and collections is None:
        collections = [username]
    changes = tools.script(
        config,
        "client_save",
        username=username,
        fields=fields,
        collections=collections,
        password=password,
        create=create,
        dry_run=dry_run,
    )
    return {"username": username, "changes": changes}


def delete(config: Config, server: Server, username: str, *, dry_run: bool = False) -> None:
    """
    Delete a client who has never deposited.

    :raises KingfisherError: if the client is unknown, or deposits name it
    """
    show(server, username)
    if count := tools.script(config, "client_delete", username=username, dry_run=dry_run):
        raise KingfisherError(
            f"client {username} has {count} deposits, which name it: deposit.client_update {username} is_active=False "
            "keeps it from depositing"
        )


def collections(server: Server) -> list[dict[str, Any]]:
    """Return all collections, by name, with their clients and how many deposits they have."""
    with server.tables() as connection:
        return database.ask(
            connection,
            """
            SELECT c.id, c.name,
                   (SELECT count(*) FROM deposit d WHERE d.collection_id = c.id) AS deposits,
                   array(
                       SELECT u.username::text FROM deposit_client k JOIN auth_user u ON u.id = k.user_ptr_id
                       WHERE c.id = ANY(k.collections) ORDER BY 1
                   ) AS clients
            FROM deposit_collection c ORDER BY c.name, c.id
            """,
        )


def create_collection(config: Config, server: Server, name: str, *, dry_run: bool = False) -> dict[str, Any]:
    """Create a collection, unless there is one of the name. Returns ``name`` and ``created``."""
    _check_collection("argument name", name)
    with server.tables():
        pass
    return {"name": name, "created": tools.script(config, "collection_create", name=name, dry_run=dry_run)}


def _checked(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str] | None]:
    fields = {}
    for key, kind in FIELDS.items():
        if (value := given.get(key)) is not None:
            if not isinstance(value, kind):
                wanted = "True or False" if kind is bool else "text"
                raise KingfisherError(f"argument {key} must be {wanted}, not {value!r}")
            fields[key] = value
    collections = given.get("collections")
    if collections is not None:
        collections = [collections] if isinstance(collections, str) else collections
        if not isinstance(collections, list) or not collections:
            raise KingfisherError(f"argument collections must be a list of names, not {collections!r}")
        for name in collections:
            _check_collection("argument collections", name)
    return fields, collections


def _check_collection(place: str, name: Any) -> None:
    # It is a part of addresses of the API.
    if not isinstance(name, str) or not name or name != name.strip() or "/" in name:
        raise KingfisherError(f"{place}: a collection must have a name without / and spaces around it, not {name!r}")


def _read(server: Server, condition: str, *values: Any) -> list[dict[str, Any]]:
    with server.tables() as connection:
        rows = database.ask(connection, f"{_SELECT} {condition} ORDER BY u.username", *values)
        names = {row["id"]: row["name"] for row in database.ask(connection, "SELECT id, name FROM deposit_collection")}
    for row in rows:
        row["collections"] = sorted(names.get(number, f"#{number}") for number in row["collections"] or [])
        for key in ("date_joined", "last_login"):
            row[key] = row[key].isoformat(timespec="seconds") if row[key] else None
    return rows
