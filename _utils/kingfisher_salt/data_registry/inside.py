# mypy: ignore-errors
# ruff: noqa: ANN001, ANN003, ANN201, ANN202
"""
What is asked of the Data Registry in its own shell.

This file is sent there as text. It is not imported here, where neither Django nor the application is installed.
"""

import time
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pika
import requests
from data_registry.models import Collection, Job, Task
from django.conf import settings
from django.db import transaction
from exporter import util

#: In seconds.
TIMEOUT = 30
PAUSE = 0.5
#: Files of an export that are listed.
MANY = 200


def main(arguments):
    return globals()[arguments.pop("action")](**arguments)


# Read


def jobs(status, source, hours, limit):
    """Return jobs, the newest first. ``hours``: only those that are not over, and did not move for so long."""
    found = Job.objects.select_related("collection").order_by("-pk")
    if status:
        found = found.filter(status=status)
    if source:
        found = found.filter(collection__source_id=source)
    if hours is not None:
        found = found.exclude(status="COMPLETED")
    shown = [_job(job) for job in (found[:limit] if hours is None else found)]
    if hours is None:
        return {"total": found.count(), "jobs": shown}
    shown = [job for job in shown if job["unchanged_hours"] >= hours]
    return {"total": len(shown), "jobs": shown[:limit]}


def sources():
    return sorted(set(Collection.objects.values_list("source_id", flat=True)))


def trace(pk):
    """Return a job, and what the other systems have of it, as the application reaches them. None if there is none."""
    job = Job.objects.select_related("collection").filter(pk=pk).first()
    if job is None:
        return None
    context = job.context
    named = {
        "crawl": context.get("job_id"),
        "collection": context.get("process_id"),
        "compiled": context.get("process_compiled_collection_id") or context.get("process_id_pelican"),
        "dataset": context.get("pelican_id"),
        "dataset_name": context.get("pelican_dataset_name"),
    }
    return {
        "job": _job(job),
        "active": Collection.objects.filter(active_job=job).exists(),
        "context": {key: _shown(v) if "://" in str(v) else v for key, v in context.items()},
        "named": named,
        **systems(pk, named["collection"], named["dataset"], named["dataset_name"]),
    }


def systems(pk, collection, dataset, dataset_name=None):
    """Return what each system has of a job, or why it does not tell."""
    return {
        "exchange": settings.RABBIT_EXCHANGE_NAME,
        "project": settings.SCRAPYD["project"],
        "scrapyd": _scrapyd(),
        "process": _process(collection),
        "pelican": _pelican(dataset, dataset_name),
        "export": _export(pk),
        "rabbitmq": _rabbitmq(),
    }


def remains(pk, collection, dataset, wait):
    """Return what is left of a deleted job, once nothing is, or after so many seconds."""
    deadline = time.monotonic() + wait
    while True:
        found = {
            # Whoever had it in memory, and saved it, has brought it back.
            "job": Job.objects.filter(pk=pk).exists(),
            "process": _process(collection),
            "pelican": _pelican(dataset, None),
            "export": _export(pk),
            "rabbitmq": _rabbitmq(),
        }
        left = [name for name in ("process", "pelican", "export") if found[name].get("there")]
        errors = [name for name in ("process", "pelican", "export") if found[name]["error"]]
        if not (left or errors) or time.monotonic() > deadline:
            return found
        time.sleep(PAUSE)


# Change


def freeze(source, pk, frozen, dry_run):
    """Freeze or unfreeze a publication, if one alone is meant. Returns those that are meant."""
    found = list(Collection.objects.filter(pk=pk) if pk else Collection.objects.filter(source_id=source))
    shown = [{"publication": c.pk, "source": c.source_id, "title": c.title, "frozen": c.frozen} for c in found]
    if len(found) == 1 and not dry_run and found[0].frozen != frozen:
        found[0].frozen = frozen
        found[0].save(update_fields=["frozen", "modified"])
    return shown


def delete(pk, without_crawl, context):
    """
    Delete a job, with all that the application's own signals clean up. Returns whether there was one.

    ``context``: what it does not know of itself yet, and would not clean up therefore.
    """
    with transaction.atomic():
        job = Job.objects.select_for_update().filter(pk=pk).first()
        if job is None:
            return False
        if without_crawl:
            # The application skips what has not begun, and fails if it does not know the crawl of what has.
            Task.objects.filter(job=job, type="collect").update(start=None)
        if context:
            Job.objects.filter(pk=pk).update(context={**context, **job.context})
        job.delete()
    return True


def delete_again(pk, collection, dataset, export):
    """Ask for the deletion of what is left of a job that is deleted."""
    if collection:
        _delete(settings.KINGFISHER_PROCESS_URL, f"/api/collections/{collection}/")
    if dataset:
        _delete(settings.PELICAN_FRONTEND_URL, f"/api/datasets/{dataset}/")
    if export:
        util.publish({"job_id": pk}, "wiper_init")


def plan(pk, types):
    """Let the application start tasks again."""
    with transaction.atomic():
        job = Job.objects.select_for_update().get(pk=pk)
        # With the number of the removed dataset, the application would wait for that one, for good.
        for key in ("pelican_id", "pelican_dataset_name"):
            job.context.pop(key, None)
        job.status = "RUNNING"
        job.end = None
        job.save(update_fields=["context", "status", "end", "modified"])
        for task in Task.objects.filter(job=job, type__in=types):
            task.status = "PLANNED"
            task.result = task.note = ""
            task.end = None
            task.save(update_fields=["status", "result", "note", "end", "modified"])


def publish(pk, files, message, routing_key):
    """Delete files in a job's directory, then publish a message."""
    directory = _directory(pk)
    for name in files:
        (directory / name).unlink(missing_ok=True)
    util.publish(message, routing_key)


# Parts


def _job(job):
    tasks = list(Task.objects.filter(job=job).order_by("order"))
    current = next((task for task in tasks if task.status != "COMPLETED"), None)
    over = job.status == "COMPLETED"
    moments = [job.created, job.start, *(task.start for task in tasks), *(task.end for task in tasks)]
    return {
        "job": job.pk,
        "publication": job.collection.pk,
        "source": job.collection.source_id,
        "title": job.collection.title,
        "frozen": job.collection.frozen,
        "status": job.status,
        "start": _time(job.start),
        "end": _time(job.end),
        "task": current.type if current and not over else None,
        "unchanged_hours": None if over else _hours(max(moment for moment in moments if moment)),
        "tasks": {
            task.type: {
                "status": task.status,
                "result": task.result,
                "note": task.note,
                "start": _time(task.start),
                "end": _time(task.end),
            }
            for task in tasks
        },
    }


def _scrapyd():
    url = settings.SCRAPYD["url"]
    response, error = _get(url, "daemonstatus.json")
    return {"url": _shown(url), "error": error or _refusal(response)}


def _process(collection):
    url = getattr(settings, "KINGFISHER_PROCESS_URL", None)
    if not url:
        return {"url": None, "there": False, "error": None}
    response, error = _get(url, f"/api/collections/{collection}/tree/" if collection else "/")
    there = bool(collection) and response is not None and response.ok
    found = {"url": _shown(url), "collection": collection, "there": there, "error": error or _refusal(response)}
    return {**found, "tree": _json(response)} if there else found


def _pelican(dataset, name):
    url = getattr(settings, "PELICAN_FRONTEND_URL", None)
    if not url:
        return {"url": None, "there": False, "error": None}
    if not dataset and name:
        response, error = _get(url, "/api/datasets/find_by_name/", name=name)
        dataset = (_json(response) or {}).get("id")
    if dataset:
        response, error = _get(url, f"/api/datasets/{dataset}/status/")
    elif not name:
        response, error = _get(url, "/")
    status = _json(response) if dataset else None
    found = {"url": _shown(url), "dataset": dataset, "there": bool(status), "error": error or _refusal(response)}
    return {**found, **{key: status.get(key) for key in ("phase", "state")}} if status else found


def _export(pk):
    directory = _directory(pk)
    found = {"directory": str(directory), "there": False, "error": None, "files": {}, "locks": {}}
    found |= {"exported": 0, "flat": []}
    try:
        if not directory.parent.is_dir():
            return {**found, "error": f"{directory.parent} is not there"}
        entries = sorted(directory.iterdir()) if directory.is_dir() else []
        found["there"] = directory.is_dir()
        status = {entry.name: entry.stat() for entry in entries if entry.is_file() and not entry.is_symlink()}
    except OSError as e:
        return {**found, "error": f"{e.filename}: {e.strerror}"}
    found["locks"] = {name: _age(s.st_mtime) for name, s in status.items() if name.endswith(".lock")}
    files = {name: s for name, s in status.items() if name not in found["locks"]}
    found["files"] = {name: s.st_size for name, s in list(files.items())[:MANY]}
    found["exported"] = sum(name.endswith(".jsonl.gz") for name in files)
    found["flat"] = [name for name in files if name.endswith((".csv.tar.gz", ".xlsx"))]
    found["bytes"] = sum(s.st_size for s in files.values())
    found["written_hours"] = min((_age(s.st_mtime) for s in status.values()), default=None)
    return found


def _rabbitmq():
    """Return what waits in the application's queues, None for one that is not there."""
    found = {"error": None, "queues": {}}
    try:
        parameters = pika.URLParameters(settings.RABBIT_URL)
        parameters.socket_timeout = parameters.stack_timeout = parameters.blocked_connection_timeout = TIMEOUT
        parameters.connection_attempts = 1
        connection = pika.BlockingConnection(parameters)
        try:
            for queue in ("wiper_init", "exporter_init", "flattener_init"):
                name = f"{settings.RABBIT_EXCHANGE_NAME}_{queue}"
                found["queues"][name] = _count(connection, name)
        finally:
            connection.close()
    except (pika.exceptions.AMQPError, OSError) as e:
        found["error"] = _cause(e)
    return found


def _count(connection, name):
    channel = connection.channel()
    try:
        method = channel.queue_declare(name, passive=True).method
    except pika.exceptions.ChannelClosedByBroker as e:
        if e.reply_code == 404:
            return None
        raise
    channel.close()
    return {"ready": method.message_count, "consumers": method.consumer_count}


def _directory(pk):
    return Path(settings.EXPORTER_DIR, str(int(pk)))


def _get(base, path, **parameters):
    """Return an answer and None, or None and why there is none."""
    if not base:
        return None, "the Data Registry has no address for it"
    try:
        return requests.get(urljoin(base, path), params=parameters, timeout=TIMEOUT), None
    except requests.RequestException as e:
        return None, _cause(e)


def _delete(base, path):
    response = requests.delete(urljoin(base, path), timeout=TIMEOUT)
    if response.status_code != 404:
        response.raise_for_status()


def _refusal(response):
    if response.status_code in (401, 403) or response.status_code >= 500:
        return f"HTTP {response.status_code}"
    return None


def _json(response):
    try:
        return response.json() if response is not None and response.ok else None
    except ValueError:
        return None


def _cause(error):
    """Return what the system said, without addresses, which may hold credentials."""
    seen = []
    todo = [error]
    while todo:
        found = todo.pop()
        if not isinstance(found, BaseException) or found in seen:
            continue
        seen.append(found)
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        todo += [getattr(found, "reason", None), getattr(found, "exception", None), found.__cause__]
        todo += [found.__context__, *found.args]
    return type(error).__name__


def _shown(url):
    parts = urlsplit(url or "")
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _time(moment):
    return moment.isoformat(timespec="seconds") if moment else None


def _hours(moment):
    return round((datetime.now(timezone.utc) - moment).total_seconds() / 3600, 2)


def _age(seconds):
    return round(max(0, time.time() - seconds) / 3600, 2)
