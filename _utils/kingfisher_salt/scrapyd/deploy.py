"""
Deploy spiders, so that what cannot list its spiders does not stay in use.

Scrapyd stores an egg before it looks into it, and crawls use the version that sorts last. So a broken egg is in use
until it is deleted. A version is named after the time of its upload and what is in it: so it sorts last, also when an
older revision is deployed again, and what is in use can be told from its name.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..errors import KingfisherError
from . import jobs
from .client import Client, RefusedError
from .egg import Checkout
from .jobs import Job
from .processes import crawl_processes

_DIGEST = 12


@dataclass(frozen=True)
class Source:
    """What is deployed: a revision of a checkout, or an egg file."""

    checkout: Path | None = None
    revision: str = "HEAD"
    egg: Path | None = None


def deploy(
    client: Client, source: Source, *, project: str | None, version: str | None = None, dry_run: bool = False
) -> dict[str, Any]:
    """
    Build an egg, upload it, and list its spiders. If that fails, delete the version.

    :returns: project, version, ``previous`` (the version that was in use), ``deployed`` (whether anything was),
        ``spiders``, ``added``, ``removed``, and ``notes``
    :raises KingfisherError: if it cannot be deployed; what was in use is in use then
    """
    name = _project(client, project)
    known = client.versions(name) if name in client.projects() else []
    previous = known[-1] if known else None
    digest, build, notes = _prepare(client, source)
    result: dict[str, Any] = {
        "project": name,
        "version": previous,
        "previous": previous,
        "deployed": False,
        "notes": notes,
    }
    if previous and _holds(previous, version, digest):
        spiders = _spiders(client, name, previous)
        if spiders:
            return result | {"spiders": spiders, "added": [], "removed": []}
        # A deployment was killed before it could delete it, or it was broken since: it is replaced.
        notes.append(f"version {previous} is in use, and lists no spiders")
    wanted = sanitized(version) if version else f"{int(time.time())}-{digest}"
    if wanted in known:
        raise KingfisherError(
            f"argument version: project {name} has a version {wanted} already: choose another, or run "
            f"scrapyd.delete_version {wanted} project={name}"
        )
    egg = build()
    if dry_run:
        return result | {"version": wanted, "spiders": [], "added": [], "removed": []}
    before = (_spiders(client, name, previous) or []) if previous else []
    spiders = _upload(client, name, wanted, egg, previous)
    return result | {
        "version": wanted,
        "deployed": True,
        "spiders": spiders,
        "added": sorted(set(spiders) - set(before)),
        "removed": sorted(set(before) - set(spiders)),
    }


def delete_version(client: Client, version: str, *, project: str | None, dry_run: bool = False) -> dict[str, Any]:
    """
    Delete a version that no crawl uses.

    :raises KingfisherError: if it is unknown, or in use by a crawl
    """
    name = jobs.the_project(client, project)
    version = sanitized(version)
    known = client.versions(name)
    jobs.check_version(client, name, version)
    _refuse_if_used(client, name, version, is_last=version == known[-1])
    left = [other for other in known if other != version]
    if not dry_run:
        client.delete_version(name, version)
        left = client.versions(name)
        if version in left:
            raise KingfisherError(f"{client.config.place} said that it deleted version {version}, and still has it")
    return {"project": name, "deleted": version, "versions": left, "in_use": left[-1] if left else None}


def delete_project(client: Client, project: str, *, dry_run: bool = False) -> dict[str, Any]:
    """
    Delete a project with all its versions.

    :raises KingfisherError: if it is unknown, or has crawls that wait or run: Scrapyd would neither end nor show them
    """
    name = jobs.the_project(client, project)
    versions = client.versions(name)
    _refuse_if_used(client, name, None, is_last=True)
    if not dry_run:
        client.delete_project(name)
        if name in client.projects():
            raise KingfisherError(f"{client.config.place} said that it deleted project {name}, and still has it")
    return {"deleted": name, "versions": versions}


def sanitized(version: str) -> str:
    """Return a version as Scrapyd lists it."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", version)


def _project(client: Client, project: str | None) -> str:
    """Return the project to deploy, which may be a new one."""
    name = project or client.config.project
    if name is None:
        return jobs.the_project(client, None)
    if not jobs.is_name(name):
        raise KingfisherError(f"argument project must be fit for a file name, not {name!r}")
    return name


def _prepare(client: Client, source: Source) -> tuple[str, Callable[[], bytes], list[str]]:
    """Return what tells one source from another, a function that returns its egg, and notes."""
    if source.egg:
        if source.checkout:
            raise KingfisherError("arguments checkout and egg: give one of them")
        try:
            content = source.egg.read_bytes()
        except OSError as e:
            raise KingfisherError(f"argument egg: {source.egg} cannot be read: {e.strerror}") from e
        return hashlib.sha256(content).hexdigest()[:_DIGEST], lambda: content, []
    path = source.checkout or client.config.checkout
    if not path:
        raise KingfisherError("argument checkout: name a git checkout there, or in pillar scrapyd:checkout, or an egg")
    checkout = Checkout(path)
    commit = checkout.commit(source.revision)
    changed = checkout.uncommitted()
    notes = [f"{changed} files in {path} are changed or new, and not committed: they are left out"] if changed else []
    return commit[:_DIGEST], lambda: checkout.build(commit, client.config.python), notes


def _holds(previous: str, version: str | None, digest: str) -> bool:
    """Return whether the version that is in use is the one that is wanted."""
    return previous == sanitized(version) if version else previous.endswith(f"-{digest}")


def _spiders(client: Client, project: str, version: str) -> list[str] | None:
    try:
        return client.spiders(project, version)
    except RefusedError:
        return None


def _upload(client: Client, project: str, version: str, egg: bytes, previous: str | None) -> list[str]:
    try:
        client.add_version(project, version, egg)
        spiders = client.spiders(project, version)
        known = client.versions(project)
    except KingfisherError as e:
        _take_back(client, project, version, previous, e)
    if not spiders:
        _take_back(client, project, version, previous, "it has no spiders: look at SPIDER_MODULES in its settings")
    if known[-1] != version:
        later = ", ".join(known[known.index(version) + 1 :])
        _take_back(client, project, version, previous, f"crawls would not use it, since {later} sorts after it")
    return spiders


def _take_back(client: Client, project: str, version: str, previous: str | None, why: Exception | str) -> NoReturn:
    """Delete a version that was uploaded, and raise KingfisherError, which says why."""
    stays = f"version {previous} stays in use" if previous else f"project {project} is as before"
    try:
        if project in client.projects() and version in client.versions(project):
            client.delete_version(project, version)
    except KingfisherError as e:
        raise KingfisherError(
            f"version {version} of project {project} cannot be used ({why}), and cannot be deleted ({e}): run "
            f"scrapyd.delete_version {version} project={project}, since crawls would use it"
        ) from e
    text = f"version {version} of project {project} cannot be used, and was deleted; {stays}: {why}"
    raise KingfisherError(text) from (why if isinstance(why, Exception) else None)


def _refuse_if_used(client: Client, project: str, version: str | None, *, is_last: bool) -> None:
    """
    Raise KingfisherError if a crawl uses a version, or may do so, or if the version is None, any.

    A crawl reads its modules from the egg while it runs. Without a version of its own, it uses the one that was the
    last when it began.
    """
    processes = crawl_processes()
    users = [
        job
        for job in jobs.read_jobs(client)
        if job.project == project
        and job.state != "finished"
        and (
            version is None
            or (used := _version_of(job, processes)) == version
            or (used is None and (is_last or job.state == "running"))
        )
    ]
    if users:
        told = ", ".join(f"{job.id} ({job.spider}, {job.state})" for job in users[:5])
        what = f"version {version} of project {project}" if version else f"project {project}"
        raise KingfisherError(
            f"{what} is, or may be, in use by {len(users)} crawls: {told}: wait for them, or run scrapyd.cancel for "
            "each"
        )


def _version_of(job: Job, processes: Any) -> str | None:
    """Return the version that a job was scheduled with, sanitized, or None if none, or if it cannot be told."""
    process = processes.get(job.id)
    version = job.version or (process.version if process else None)
    return sanitized(version) if version else None
