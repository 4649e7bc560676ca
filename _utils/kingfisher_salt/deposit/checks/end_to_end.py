"""Deposit something as a client does, and follow it until it is in the archive."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

from . import archive
from .config import SLUG, CheckConfig
from .report import Report, State, seconds
from .sword import Client, Deposit, ServerError

#: What a deposit that is under way waits for.
UNDER_WAY = {
    "deposited": "the checker has not checked it: systemctl status deposit-worker@checker",
    "verified": "no loader has taken it: systemctl status deposit-worker@loader",
    "loading": "the loader has not loaded it: journalctl -u deposit-worker@loader",
}
#: An upload is over after this, so that a deposit that is still partial is what a check left that was killed.
_PARTIAL = timedelta(minutes=10)
#: A deposit that is under way for so many times the critical limit is given up, so that one that was lost does not
#: hide for long that others arrive again.
_GIVEN_UP = 2


def check(config: CheckConfig) -> Report:
    """
    Make a deposit, follow it, and tell how that went.

    A deposit of an earlier check that is still under way is followed instead, so that they do not pile up while no
    worker runs. One that was left partial is deleted.
    """
    client, began = Client(config), time.monotonic()
    now = datetime.now(timezone.utc)
    try:
        earlier = _tidy(client, now)
    except ServerError as e:
        return _not_uploaded(config, began, str(e))
    if earlier:
        age = max((now - earlier.received).total_seconds(), 0)
        return _follow(client, earlier.id, began - age, {}, f"deposit {earlier.id} of an earlier check")
    try:
        identifier = client.create(archive.archive(now), archive.entry(config.origin_url, config.username), SLUG)
    except ServerError as e:
        return _not_uploaded(config, began, f"{e}{_left_behind(client, now)}")
    return _follow(client, identifier, began, {"upload": time.monotonic() - began}, f"deposit {identifier}")


def _not_uploaded(config: CheckConfig, began: float, why: str) -> Report:
    took = time.monotonic() - began
    return Report(State.CRITICAL, f"upload failed: {why}", _performance(config, took, {"upload": took}))


def _tidy(client: Client, now: datetime) -> Deposit | None:
    """Delete what earlier checks left partial, and return their latest deposit that is under way."""
    ours = [deposit for deposit in client.latest() if deposit.external_id == SLUG]
    for deposit in ours:
        if deposit.status == "partial" and now - deposit.received > _PARTIAL:
            client.delete(deposit.id)
    limit = timedelta(seconds=client.config.critical * _GIVEN_UP)
    under_way = [each for each in ours if each.status in UNDER_WAY and now - each.received < limit]
    return under_way[-1] if under_way else None


def _left_behind(client: Client, began: datetime) -> str:
    """Return what an upload that failed has left on the server, after deleting it where that may be done."""
    try:
        left = [each for each in client.latest() if each.external_id == SLUG and each.received >= began]
        for each in left:
            if each.status == "partial":
                client.delete(each.id)
    except ServerError:
        return ""
    return "".join(f"; it left deposit {each.id} {each.status}" for each in left if each.status != "partial")


def _follow(client: Client, identifier: int, began: float, stages: dict[str, float], what: str) -> Report:
    """
    Follow a deposit until it is done, has failed, or takes too long.

    :param began: when it was made, by the monotonic clock
    :param stages: seconds by stage, to which those of each status are added
    """
    config, problem = client.config, ""
    stage, since = "deposited", time.monotonic()
    while True:
        try:
            found = client.status(identifier)
        except ServerError as e:  # the server may be restarted meanwhile
            problem, status, detail = str(e), stage, ""
        else:
            problem, status, detail = "", found.status, found.detail
        now = time.monotonic()
        if stages:
            # A change between two looks is counted to what came before it.
            stages[stage] = stages.get(stage, 0.0) + now - since
        since, total = now, now - began
        performance = _performance(config, total, stages)
        if status == "done":
            return Report(*_judge(config, total, stages, what), performance)
        if status not in UNDER_WAY:
            return Report(State.CRITICAL, f"{what} is {status} after {total:.1f} s: {detail}", performance)
        if total >= config.critical:
            why = problem or UNDER_WAY[status]
            text = f"{what} is still {status} after {total:.1f} s: {why}"
            return Report(State.CRITICAL, text, performance)
        stage = status
        time.sleep(min(config.poll_interval, max(config.critical - total, 0.1)))


def _judge(config: CheckConfig, total: float, stages: dict[str, float], what: str) -> tuple[State, str]:
    text = f"{what} is done after {total:.1f} s"
    if total < config.warning:
        return State.OK, text
    if stages:
        slowest = max(stages, key=lambda stage: stages[stage])
        text += f", {stages[slowest]:.1f} s of it {'in upload' if slowest == 'upload' else f'as {slowest}'}"
    return (State.CRITICAL if total >= config.critical else State.WARNING), text


def _performance(config: CheckConfig, total: float, stages: dict[str, float]) -> dict[str, str]:
    return {
        "total": seconds(total, config.warning, config.critical),
        **{stage: seconds(value) for stage, value in stages.items()},
    }
