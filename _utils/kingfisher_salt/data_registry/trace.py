"""Jobs, and one job across all systems."""

from __future__ import annotations

from typing import Any

from .. import settings
from ..errors import KingfisherError
from ..scrapyd.client import Client
from .registry import STATUSES, Counts, Registry


def jobs(registry: Registry, *, status: str | None, source: str | None, stalled: bool, limit: int) -> dict[str, Any]:
    """
    Return jobs, the newest first.

    :param stalled: whether to return only those that are not over, and that did not move for ``stalled_hours``
    :raises KingfisherError: if the status or the source is unknown
    """
    if status is not None and status not in STATUSES:
        raise KingfisherError(f"argument status: there is no status {status}{settings.nearest(status, STATUSES)}")
    hours = registry.config.stalled_hours if stalled else None
    found: dict[str, Any] = registry.ask("jobs", status=status, source=source, hours=hours, limit=limit)
    if source and not found["jobs"] and source not in (known := registry.ask("sources")):
        raise KingfisherError(
            f"argument source: no publication has the source {source}{settings.nearest(source, known)}"
        )
    for job in found["jobs"]:
        job["tasks"] = {name: task["status"] for name, task in job["tasks"].items()}
    return found


def job(registry: Registry, client: Client, counts: Counts, job_id: int) -> dict[str, Any]:
    """
    Return a job with its tasks and context, and what every system says of it.

    A system that does not answer is shown with the reason. So this works best when something is wrong.

    :raises KingfisherError: if there is no such job
    """
    found = registry.trace(job_id)
    shown: dict[str, Any] = {**found["job"], "active": found["active"], "context": found["context"]}
    shown["links"] = _links(registry, client, found)
    shown["scrapyd"] = _scrapyd(client, found["named"]["crawl"])
    shown["kingfisher_process"] = _process(found["process"])
    shown["pelican"] = _without_nothing(found["pelican"])
    shown["export"] = _without_nothing({**found["export"], "flat": None})
    shown["queues"] = queues(counts, found)
    return shown


def queues(counts: Counts, found: dict[str, Any]) -> dict[str, Any]:
    """Return what waits in the Data Registry's queues, with what is unacknowledged, if that can be had."""
    if error := found["rabbitmq"]["error"]:
        return {"error": f"RabbitMQ does not answer the Data Registry ({error})"}
    known: dict[str, Any] = dict(found["rabbitmq"]["queues"])
    names = [name for name, queue in known.items() if queue is not None]
    try:
        more = counts(names)
    except KingfisherError as e:
        return {**known, "error": str(e)}
    return known | {name: dict(queue) for name in names if (queue := more.get(name))}


def _links(registry: Registry, client: Client, found: dict[str, Any]) -> dict[str, str]:
    links = {}
    context = found["context"]
    if registry.config.public_url:
        links["admin"] = f"{registry.config.public_url}/admin/data_registry/job/{found['job']['job']}/change/"
    if context.get("scrapy_log"):
        links["scrapy_log"] = context["scrapy_log"]
        path = str(context["scrapy_log"]).partition("/logs/")[2]
        links["crawl_log"] = f"{client.config.public_url}/logs/{path}"
    return links


def _scrapyd(client: Client, crawl: str | None) -> dict[str, Any]:
    if crawl is None:
        return {"crawl": None, "comment": "the context has no job_id: no crawl was scheduled, or it was removed there"}
    try:
        state = client.job_state(crawl)
    except KingfisherError as e:
        return {"crawl": crawl, "error": str(e)}
    return {"crawl": crawl, "state": state or "forgotten"}


def _process(found: dict[str, Any]) -> dict[str, Any]:
    shown = _without_nothing(found)
    if isinstance(tree := shown.pop("tree", None), list):
        keys = ("id", "transform_type", "store_start_at", "store_end_at", "completed_at", "deleted_at")
        shown["collections"] = [{key: c.get(key) for key in keys if key in c} for c in tree if isinstance(c, dict)]
    return shown


def _without_nothing(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if value is not None}
