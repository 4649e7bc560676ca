"""
What is done in the deposit's own Python, with its own models: the source goes to that Python by standard input.

Nothing here is imported by Salt. Each function returns JSON, and raises :class:`Refused` with a sentence.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

RESCHEDULED = ("failed", "done")
#: Seconds that the scheduler may take for one answer.
SCHEDULER_TIMEOUT = 10
#: Key of the advisory lock under which collections are created, since their names are not unique in the database.
COLLECTIONS = 0x6B66_7363


class Refused(Exception):  # noqa: N818
    """Something that an operator can put right."""


class Unanswered(Refused):
    """The scheduler does not answer."""


@contextmanager
def _locked() -> Any:
    """Turn PostgreSQL's refusal to wait for a lock into a sentence."""
    from django.db import OperationalError, transaction

    try:
        with transaction.atomic():
            yield
    except OperationalError as e:
        if "lock timeout" not in str(e):
            raise
        raise Refused(
            "another session holds it: wait, and run this again; deposit.migrate dry_run=True shows who"
        ) from e


class Scheduler:
    """The scheduler in the server's configuration, without the minute that its client would try again for."""

    def __init__(self) -> None:
        from swh.core.config import load_from_envvar
        from swh.scheduler import get_scheduler

        settings = dict(load_from_envvar()["scheduler"])
        url = _without_credentials(settings.get("url") or "")
        self.place = f"the scheduler at {url}" if url else "the scheduler's database"
        if settings.get("cls") == "remote":
            settings |= {"enable_requests_retry": False, "timeout": SCHEDULER_TIMEOUT}
        with self._answering():
            self._backend = get_scheduler(**settings)

    def tasks(self, ids: list[int]) -> dict[int, Any]:
        with self._answering():
            return {task.id: task for task in self._backend.get_tasks(ids)}

    def run_now(self, task: int) -> None:
        with self._answering():
            self._backend.set_status_tasks(
                [task], status="next_run_not_scheduled", next_run=datetime.now(tz=timezone.utc)
            )

    @contextmanager
    def _answering(self) -> Any:
        try:
            yield
        except Exception as e:  # what its transports and its database raise
            raise Unanswered(
                f"{self.place} does not answer ({_reason(e)}): start it, or correct scheduler in "
                f"{os.environ['SWH_CONFIG_FILENAME']}, and run this again"
            ) from e


def _reason(error: Exception) -> str:
    """Return the system's own words, which the transports wrap in several of theirs, or else the first line."""
    if words := re.search(r"\[Errno \d+\] ([A-Z][\w ]+)", str(error)):
        return words[1]
    first, *_ = _without_credentials(str(error)).strip().splitlines() or [""]
    return f"{type(error).__name__}: {first[:200]}".removesuffix(": ")


def _without_credentials(text: str) -> str:
    return re.sub(r"://\S*@", "://", text)


# Deposits


def reschedule(ids: list[int], *, seconds: float, dry_run: bool) -> dict[str, Any]:
    """
    Reset deposits to verified, and make their loading tasks due.

    Each is reset in a transaction that ends after the scheduler was called, under a lock on its row. So that it is
    never left verified without a due task: what fails, or is killed, before the end leaves it as it was.

    Once the scheduler does not answer, or the seconds are over, no other is tried, so that what was done is told.
    """
    end = time.monotonic() + seconds
    scheduler = Scheduler()
    scheduler.tasks([])  # whether it answers, before anything is touched
    found: dict[str, Any] = {}
    stopped = ""
    for number in ids:
        if stopped:
            found[str(number)] = _failed(f"deposit {number} was not tried: {stopped}")
            continue
        try:
            found[str(number)] = _reschedule(scheduler, number, dry_run=dry_run)
        except Refused as e:
            found[str(number)] = _failed(f"deposit {number}: {e}")
            stopped = str(e) if isinstance(e, Unanswered) else ""
        if time.monotonic() > end:
            stopped = stopped or f"those before it took longer than {seconds:g} s: run this again"
    return found


def _failed(comment: str) -> dict[str, Any]:
    return {"outcome": "failed", "comment": comment}


def _reschedule(scheduler: Scheduler, number: int, *, dry_run: bool) -> dict[str, Any]:
    from swh.deposit.models import Deposit

    with _locked():
        rows = Deposit.objects.filter(pk=number)
        deposit = (rows if dry_run else rows.select_for_update()).first()
        if deposit is None:
            return {
                "outcome": "unknown",
                "comment": f"there is no deposit {number}: deposit.list shows those there are",
            }
        result = {
            "before": deposit.status,
            "status": deposit.status,
            "swhid": deposit.swhid,
            "swhid_context": deposit.swhid_context,
            "task": deposit.load_task_id,
        }
        if deposit.status not in (*RESCHEDULED, "verified"):
            return result | {
                "outcome": "refused",
                "comment": f"deposit {number} is {deposit.status}, and only those that are {' or '.join(RESCHEDULED)} "
                f"are rescheduled: deposit.status {number} says what it waits for",
            }
        if not (deposit.load_task_id or "").strip().isdigit():
            return result | {
                "outcome": "no_task",
                "comment": f"deposit {number} has no loading task (load_task_id): it was never verified with the "
                "scheduler there; ask its client to send it again",
            }
        task = int(deposit.load_task_id)
        known = scheduler.tasks([task]).get(task)
        if known is None:
            return result | {
                "outcome": "no_task",
                "comment": f"deposit {number}: {scheduler.place} has no task {task} (load_task_id): it was deleted, "
                "or this is another scheduler; correct scheduler in the configuration file",
            }
        was_verified = deposit.status == "verified"
        if was_verified and _is_due(known):
            return result | {
                "outcome": "already_scheduled",
                "comment": f"deposit {number} is verified, and its loading task {task} is {known.status}",
            }
        result |= {"outcome": "rescheduled", "status": "verified"}
        would = "would have been" if dry_run else "has been"
        done = "made due again" if was_verified else "reset to verified, and its loading task made due"
        repaired = f": it was {known.status}" if was_verified else ""
        result["comment"] = f"deposit {number} {would} {done} (task {task}{repaired})"
        if not dry_run:
            deposit.swhid = deposit.swhid_context = None
            deposit.status = "verified"
            deposit.save(update_fields=["swhid", "swhid_context", "status"])
            scheduler.run_now(task)
        return result


def _is_due(task: Any) -> bool:
    if task.status == "next_run_scheduled":
        return True
    return bool(task.status == "next_run_not_scheduled" and task.next_run <= datetime.now(tz=timezone.utc))


def tasks(ids: list[int]) -> dict[str, Any]:
    """Return the status of the scheduler's tasks, and when each is, or was, to run."""
    found = Scheduler().tasks(ids)
    return {
        str(number): {"status": str(task.status), "next_run": task.next_run.isoformat(), "due": _is_due(task)}
        for number, task in found.items()
    }


# Clients


def collection_create(name: str, *, dry_run: bool) -> bool:
    """Create a collection, and return whether it had to be."""
    from swh.deposit.models import DepositCollection

    with _locked():
        if not dry_run:
            _lock_collections()
        if DepositCollection.objects.filter(name=name).exists():
            return False
        if not dry_run:
            DepositCollection.objects.create(name=name)
        return True


def client_save(
    username: str,
    fields: dict[str, Any],
    collections: list[str] | None,
    password: str | None,
    *,
    create: bool,
    dry_run: bool,
) -> dict[str, Any]:
    """Create a client, or change what differs of one, and return the changes. A password is told by ``**`` alone."""
    from django.contrib.auth.models import User
    from swh.deposit.models import DepositClient

    with _locked():
        rows = DepositClient.objects.filter(username=username)
        client = (rows if dry_run else rows.select_for_update()).first()
        if create and (client or User.objects.filter(username=username).exists()):
            what = "there is a client" if client else "Django has a user, who is no client, of the name"
            raise Refused(f"argument username: {what} {username}: deposit.client_update changes clients")
        if client is None and not create:
            raise Refused(f"argument username: there is no client {username}: deposit.client_create makes one")
        if client is None:
            client = DepositClient(username=username, provider_url="", domain="", collections=[])
            client.set_unusable_password()
        changes: dict[str, Any] = {}
        for field, value in fields.items():
            if (old := getattr(client, field)) != value:
                changes[field] = {"old": None if create else old, "new": value}
                setattr(client, field, value)
        if collections is not None:
            changes |= _set_collections(client, collections, create=create, dry_run=dry_run)
        if password is not None and (create or not _has_password(client, password)):
            changes["password"] = {"old": None if create else "**", "new": "**"}
            client.set_password(password)
        if changes or create:
            client.full_clean(exclude=["password", "provider_url", "domain", "collections"])
            if not dry_run:
                client.save()
        return changes


def client_delete(username: str, *, dry_run: bool) -> int:
    """Delete a client who has no deposit, else return how many there are."""
    from swh.deposit.models import Deposit, DepositClient

    with _locked():
        rows = DepositClient.objects.filter(username=username)
        client = (rows if dry_run else rows.select_for_update()).first()
        if client is None:
            raise Refused(f"argument username: there is no client {username}")
        deposits = int(Deposit.objects.filter(client=client).count())
        if not deposits and not dry_run:
            client.delete()
        return deposits


def _has_password(client: Any, password: str) -> bool:
    from django.contrib.auth.hashers import check_password

    return bool(check_password(password, client.password))  # without a setter, so that it writes nothing


def _set_collections(client: Any, names: list[str], *, create: bool, dry_run: bool) -> dict[str, Any]:
    from swh.deposit.models import DepositCollection

    if not dry_run:
        _lock_collections()
    known: dict[str, int] = {}
    for collection in DepositCollection.objects.order_by("-id"):
        known[collection.name] = collection.id  # of two that have one name, the older
    by_id = {collection.id: collection.name for collection in DepositCollection.objects.all()}
    old = sorted(by_id.get(number, f"#{number}") for number in client.collections or [])
    wanted = sorted(set(names))
    missing = [name for name in wanted if name not in known]
    if not missing and old == wanted:
        return {}
    if not dry_run:
        for name in missing:
            known[name] = DepositCollection.objects.create(name=name).id
        client.collections = [known[name] for name in wanted]
    changes: dict[str, Any] = {"collections": {"old": None if create else old, "new": wanted}}
    if missing:
        changes["collections created"] = {"old": None, "new": missing}
    return changes


def _lock_collections() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [COLLECTIONS])


def main(asked: str) -> None:
    request = json.loads(asked)
    try:
        from django import setup
        from django.core.exceptions import ValidationError
    except ImportError as e:
        print(json.dumps({"refused": f"deposit:bin_directory: its Python has no {e.name}: correct the setting"}))
        return
    try:
        setup()
        answer = {"result": globals()[request["function"]](**request["payload"])}
    except Refused as e:
        answer = {"refused": str(e)}
    except ValidationError as e:
        wrong = "; ".join(f"argument {field}: {' '.join(texts)}" for field, texts in e.message_dict.items())
        answer = {"refused": f"Django refuses the client ({wrong}): correct it"}
    except Exception as e:  # of any of its libraries: a traceback would show what a frame holds
        said = str(e).strip().splitlines()
        answer = {"refused": f"the deposit's own Python failed ({type(e).__name__}: {said[0][:200] if said else ''}): "
                  f"see {os.environ['SWH_CONFIG_FILENAME']}, and deposit.migrations"}  # fmt: skip
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
