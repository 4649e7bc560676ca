"""What the Data Registry does to the other systems when a task is deleted."""

from typing import Any
from urllib.parse import urljoin

import requests
from django.conf import settings
from exporter.util import publish

from data_registry.exceptions import RecoverableException
from data_registry.models import Task


def ask(method: str, base: str, path: str, **options: Any) -> Any:
    try:
        response = requests.request(method, urljoin(base, path), timeout=30, **options)
        response.raise_for_status()
    except requests.RequestException as e:
        raise RecoverableException(f"Unable to {method} {path}") from e
    return response.json() if response.content else None


def collect(task: Task) -> None:
    if not task.start:
        return
    data = {"project": settings.SCRAPYD["project"], "job": task.job.context["job_id"]}
    answer = ask("POST", settings.SCRAPYD["url"], "cancel.json", data=data)
    if answer["status"] == "error":
        raise ValueError(answer["message"])


def process(task: Task) -> None:
    # Kingfisher Process begins before its task does.
    if "process_id" in task.job.context:
        ask("DELETE", settings.KINGFISHER_PROCESS_URL, f"/api/collections/{task.job.context['process_id']}/")


def pelican(task: Task) -> None:
    if not task.start:
        return
    dataset = task.job.context.get("pelican_id")
    if not dataset:
        name = task.job.context["pelican_dataset_name"]
        found = ask("GET", settings.PELICAN_FRONTEND_URL, "/api/datasets/find_by_name/", params={"name": name})
        dataset = found.get("id")
    if dataset:
        ask("DELETE", settings.PELICAN_FRONTEND_URL, f"/api/datasets/{dataset}/")


def export(task: Task) -> None:
    if task.start:
        publish({"job_id": task.job.pk}, "wiper_init")


WIPES = {"collect": collect, "process": process, "pelican": pelican, "exporter": export, "flattener": export}
