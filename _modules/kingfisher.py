"""
Archive the crawls of Kingfisher Collect to S3, look after the archives, and get crawls back.

:configuration: pillar ``kingfisher_archive``. Every setting of it can be given as an argument instead, except for
    secrets. The settings are described in docs/archive.md.
:depends: boto3, lz4, psycopg2, xxhash
"""

import logging
import time
from datetime import datetime, timezone
from pathlib import Path

import salt.utils.args
import salt.utils.jid
from salt.exceptions import CommandExecutionError, SaltInvocationError

try:
    from kingfisher_salt.archive import config as archive_config
    from kingfisher_salt.archive import coverage as archive_coverage
    from kingfisher_salt.archive import listing, run
    from kingfisher_salt.archive import prune as archive_prune
    from kingfisher_salt.archive import restore as archive_restore
    from kingfisher_salt.archive import verify as archive_verify
    from kingfisher_salt.archive.bucket import Bucket, connect
    from kingfisher_salt.errors import KingfisherError
    from kingfisher_salt.fit import fit

    MISSING = None
except ImportError as e:
    MISSING = e.name

log = logging.getLogger(__name__)

__virtualname__ = "kingfisher"

#: The least time between two progress events, in seconds.
EVENT_INTERVAL = 1


def __virtual__():
    # Even if something is missing: other files have the same virtual name, and if one of them is loaded, Salt
    # says only that the functions of this one are not available. So they say it themselves.
    return __virtualname__


def archive(dry_run=False, source=None, limit=None, refresh=False, **settings):
    """
    Archive the crawls that are worth it, verify that they arrived, and delete them here.

    Returns ``summary``; ``crawls``, by id, with decision (archive, keep, skip or reject), reason, bytes, files,
    errors, destination and what it was compared with; ``failed``, by id, with the reason; ``ignored``, what is no
    crawl; and ``notes``. The return code is 1 if anything failed. Sends events ``kingfisher/archive/JID/…``.

    dry_run
        Whether to tell what would be done, and to write nothing anywhere.
    source
        The source to consider, or a list of them, if not all.
    limit
        How many crawls to archive at most.
    refresh
        Whether to look at every crawl, log and archive again, whatever is remembered of them.

    CLI Example:

    .. code-block:: bash

        salt 'registry' kingfisher.archive dry_run=True
        salt 'registry' kingfisher.archive source=kyrgyzstan limit=1
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
        raise SaltInvocationError(f"argument limit must be a whole number, 0 or more, not {limit!r}")
    options = {"dry_run": dry_run, "sources": _sources(source), "limit": limit, "refresh": refresh}
    jid = settings.get("__pub_jid") or salt.utils.jid.gen_jid(__opts__)
    return _call(settings, lambda config: run.archive(config, run.Options(**options), _Events(jid)))


def crawls(source=None, **settings):
    """
    Return the crawls on disk, by id: bytes, files, when last written, and the decision that was recorded last.

    source
        The source to list, or a list of them, if not all.

    CLI Example:

    .. code-block:: bash

        salt 'registry' kingfisher.crawls source=kyrgyzstan
    """
    sources = _sources(source)
    return _call(settings, lambda config: listing.crawls(config, sources))


def archives(source=None, **settings):
    """
    Return the archives in the bucket, by source and month: crawl id, bytes, files, errors, compressed bytes.

    source
        The source to list, or a list of them, if not all.

    CLI Example:

    .. code-block:: bash

        salt 'registry' kingfisher.archives source=kyrgyzstan
    """
    sources = _sources(source)
    return _call(settings, lambda config: listing.archives(config, sources))


def coverage(source=None, format="text", path=None, **settings):  # noqa: A002
    """
    Return a table of sources by months: archived, on disk only, rejected, missing.

    source
        The source to show, or a list of them, if not all.
    format
        ``text``, for a terminal, or ``html``, to write a page.
    path
        The file to write the page to. The default is coverage.html beside the cache file.

    CLI Example:

    .. code-block:: bash

        salt 'registry' kingfisher.coverage
        salt 'registry' kingfisher.coverage format=html path=/srv/www/coverage.html
    """
    if format not in ("text", "html"):
        raise SaltInvocationError(f"argument format must be text or html, not {format!r}")
    sources = _sources(source)

    def show(config):
        plan = run.archive(config, run.Options(dry_run=True, sources=sources))
        found = Bucket(connect(config.s3), config.bucket).archives(sources)
        archived = [(a.source_id, a.period) for months in found.values() for a in months.values() if a.published]
        covered = archive_coverage.cover(archived, plan["crawls"])
        if format == "text":
            return archive_coverage.text(covered)
        target = Path(path) if path else config.cache_file.with_name("coverage.html")
        when = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(archive_coverage.page(covered, config.bucket, when), encoding="utf-8")
        except OSError as e:
            raise KingfisherError(f"argument path: {target} cannot be written: {e.strerror}") from e
        return {"path": str(target)}

    return _call(settings, show)


def verify(source=None, deep=False, dry_run=False, **settings):
    """
    Check every archive against its metadata.json, and complete what kingfisher-archive left without values.

    Returns ``summary``; ``archives``, by source and month, with id, bytes and result (verified or completed); and
    ``failed``, with what is wrong and what to do. The return code is 1 if anything is wrong.

    source
        The source to verify, or a list of them, if not all.
    deep
        Whether to read every archive back, and check its members and its checksum.
    dry_run
        Whether to leave incomplete metadata.json files as they are.

    CLI Example:

    .. code-block:: bash

        salt 'registry' kingfisher.verify
        salt 'registry' kingfisher.verify source=kyrgyzstan deep=True
    """
    sources = _sources(source)
    return _call(settings, lambda config: archive_verify.verify(config, sources, deep=deep, dry_run=dry_run))


def restore(source, month, target, dry_run=False, **settings):
    """
    Get an archived crawl back, checked, in TARGET/SOURCE/YYYYMMDD_HHMMSS, with its log beside it.

    Returns ``id``, ``directory``, ``log``, ``bytes``, ``files`` and ``seconds``. Nothing is overwritten.

    source
        The source.
    month
        The month, like 2024-05.
    target
        The directory to restore to. It is created if it is missing, and may not be in the data directory, where the
        crawl would be archived again.
    dry_run
        Whether to check that it can be done, and write nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' kingfisher.restore kyrgyzstan 2024-05 /srv/restored
    """
    return _call(
        settings,
        lambda config: archive_restore.restore(config, str(source), str(month), Path(str(target)), dry_run=dry_run),
    )


def prune(days=None, source=None, dry_run=False, **settings):
    """
    Delete old crawls and their logs, if a recorded decision says that they are not to be archived.

    Returns ``summary``; ``deleted`` (in a dry run, ``would_delete``), by id, with reason and bytes; ``kept``, by id,
    with what stands in the way; and
    ``failed``. The return code is 1 if anything failed.

    days
        For how many days nothing was written to a crawl that is deleted. It has to be given.
    source
        The source to prune, or a list of them, if not all.
    dry_run
        Whether to tell what would be deleted, and delete nothing.

    CLI Example:

    .. code-block:: bash

        salt 'registry' kingfisher.prune days=90 dry_run=True
    """
    if days is None:
        raise SaltInvocationError(
            "argument days is not set: give it, like days=90, and try it first with dry_run=True"
        )
    if isinstance(days, bool) or not isinstance(days, (int, float)) or days < 0:
        raise SaltInvocationError(f"argument days must be a number of days, 0 or more, not {days!r}")
    sources = _sources(source)
    return _call(settings, lambda config: archive_prune.prune(config, days, sources=sources, dry_run=dry_run))


def _call(settings, function):
    """Read the settings, call the library, and turn its errors into Salt's."""
    if MISSING:
        raise CommandExecutionError(f"kingfisher: {MISSING} is not installed: salt 'ID' state.apply minion")
    arguments = salt.utils.args.clean_kwargs(**settings)
    try:
        result = function(archive_config.load_and_check(__salt__["config.get"](archive_config.ROOT, {}), arguments))
        if "__pub_jid" in settings:
            result = fit(result)
    except KingfisherError as e:
        raise CommandExecutionError(str(e)) from e
    except OSError as e:
        raise CommandExecutionError(f"{e.filename}: {e.strerror}: let this user read it, and run this again") from e
    if isinstance(result, dict) and result.get("failed"):
        __context__["retcode"] = 1
        for sentence in result["failed"].values():
            log.error(sentence)
    return result


def _sources(source):
    if source is None:
        return None
    names = source if isinstance(source, list) else [source]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise SaltInvocationError(f"argument source must be the name of a source or a list of names, not {source!r}")
    return set(names)


class _Events:
    """
    Sends a run's events to the master, no more often than anyone can read them, and logs them.

    Without a master, as in salt-call --local, each attempt to send one would take half a second.
    """

    def __init__(self, jid):
        self._jid = jid
        self._last = 0
        self._has_master = __opts__.get("file_client") != "local" or __opts__.get("use_master_when_local")

    def __call__(self, event):
        name = event.pop("event")
        log.log(logging.DEBUG if name == "progress" else logging.INFO, "%s: %s", name, event)
        if not self._has_master:
            return
        often = name == "progress" or (name == "crawl" and event["result"] == "archived")
        if often and time.monotonic() - self._last < EVENT_INTERVAL:
            return
        self._last = time.monotonic()
        __salt__["event.send"](f"kingfisher/archive/{self._jid}/{name}", {"jid": self._jid, **event})
