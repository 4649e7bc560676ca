"""Decide what to do with every crawl, reading as little as the answer needs and changing nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..crawl_logs import LogIndex
from ..errors import KingfisherError
from ..scrapy_log import read_log
from . import crawl as crawls
from .cache import Cache, Recorded
from .commit import log_fingerprint
from .config import Config
from .crawl import Crawl, DataDirectory, Survey
from .decision import ARCHIVE, KEEP, REJECT, SKIP, Decision, Facts, Period, decide
from .loaded import loaded
from .pack import checksum
from .remote import Remote

DAY = 86_400


@dataclass(frozen=True)
class LogSummary:
    """What a decision needs of a log."""

    path: Path
    #: Changes with the log.
    fingerprint: str
    files: int
    errors: int
    finished: bool
    complete: bool
    clean: bool


@dataclass(frozen=True)
class Planned:
    """A crawl, and what is to be done with it."""

    crawl: Crawl
    decision: Decision
    survey: Survey | None = None
    log: LogSummary | None = None
    facts: Facts | None = None
    #: Why it cannot be done, as one sentence.
    error: str | None = None
    #: Whether the bucket has it already, so that only its deletion remains.
    archived: bool = False


@dataclass
class _Turn:
    """What was decided of one source until now."""

    #: The archives that there will be, over those that there are.
    planned: dict[Period, Facts] = field(default_factory=dict)
    #: Crawls whose turn has come and gone without an answer: they failed, are too young, or wait for others.
    unanswered: list[Planned] = field(default_factory=list)


class Planner:
    """
    Decides, source by source, in the order of time.

    A later crawl waits for an earlier one without an answer, if that could change its own: so runs end in the same
    bucket, however often they are interrupted.
    """

    def __init__(
        self, config: Config, cache: Cache, remote: Remote, disk: DataDirectory, *, refresh: bool = False
    ) -> None:
        self._config = config
        self._cache = cache
        self._refresh = refresh
        self.remote = remote
        self.disk = disk
        self._logs = LogIndex(config.logs_directory)
        self._loaded = loaded(config.database, list(disk.crawls)) if config.database and disk.crawls else None
        self._written_before = time.time() - config.min_age_days * DAY
        self._examined: dict[str, Planned] = {}
        self._checksums: dict[tuple[str, str], dict[str, str]] = {}

    def plan(self, source_id: str, failed: dict[str, str] | None = None) -> list[Planned]:
        """
        Decide on the crawls of a source.

        :param failed: crawls that were tried and why that failed, which changes what can be decided of later ones
        """
        turn = _Turn()
        plan = [self._one(crawl, turn, (failed or {}).get(crawl.id)) for crawl in self.disk.crawls[source_id]]
        last = {p.crawl.period: p for p in plan if p.decision.action == ARCHIVE and not p.error}
        return [_superseded(planned, last.get(planned.crawl.period)) for planned in plan]

    def _one(self, crawl: Crawl, turn: _Turn, failed: str | None) -> Planned:
        try:
            planned = self._examine(crawl)
            if planned.decision.action == ARCHIVE and not planned.archived:
                planned = replace(planned, decision=self._decide(planned, turn))
        except Exception as e:  # noqa: BLE001 - one crawl's failure does not stop the others
            planned = Planned(crawl, Decision(ARCHIVE, "unknown"), error=f"{crawl.id}: {crawls.explain(e)}")
        if planned.error and planned.decision.action != ARCHIVE:
            planned = replace(planned, error=None)
        if failed:
            planned = replace(planned, error=failed)
        if planned.archived:
            return planned  # whether or not it could be deleted: the bucket has it
        if planned.error or planned.decision.action == SKIP:
            turn.unanswered.append(planned)
        elif planned.decision.action == ARCHIVE and planned.facts:
            turn.planned[crawl.period] = planned.facts
        return planned

    def _examine(self, crawl: Crawl) -> Planned:
        """Answer all that does not depend on other crawls; the action is archive if nothing speaks against it yet."""
        if crawl.id not in self._examined:
            self._examined[crawl.id] = self._look_at(crawl)
        return self._examined[crawl.id]

    def _look_at(self, crawl: Crawl) -> Planned:
        survey = crawls.survey(crawl.directory)
        if survey.newest > self._written_before:
            return Planned(crawl, Decision(SKIP, "recent"), survey)
        log = self.log(crawl, survey)
        if reason := self._reject_reason(crawl, survey, log):
            return Planned(crawl, Decision(REJECT, reason), survey, log)
        if self._is_archived(crawl, survey):
            return Planned(crawl, Decision(ARCHIVE, "already_archived", crawl.id), survey, log, archived=True)
        assert log
        facts = Facts(
            crawl.id,
            crawl.period,
            survey.bytes,
            log.files,
            log.errors,
            survey.data_bytes,
            lambda: self._checksum(crawl, survey)["data_checksum"],
        )
        error = None
        if survey.special:
            error = f"{crawl.id}: {survey.special}, and only files and directories can be archived: move it away"
        return Planned(crawl, Decision(ARCHIVE, "new_period"), survey, log, facts, error)

    def _reject_reason(self, crawl: Crawl, survey: Survey, log: LogSummary | None) -> str | None:
        if not survey.data_files:
            return "no_data_files"
        if log is None:
            return "no_log_file"
        if not log.finished:
            return "not_finished"
        if not log.complete:
            return "not_complete"
        if not log.clean:
            return "not_clean_enough"
        if self._loaded is not None and crawl.id not in self._loaded:
            return "not_loaded"
        return None

    def _is_archived(self, crawl: Crawl, survey: Survey) -> bool:
        """Return whether a run was killed after it archived this crawl, and before it deleted it."""
        archive = self.remote.archive(crawl.source_id, crawl.period)
        document = self.remote.document(archive)
        return bool(
            document
            and self.remote.whole(archive)
            and document["id"] == crawl.id
            and document["bytes"] == survey.bytes
            and not survey.special
            and "data" in document
            and document["checksum"] == self._checksum(crawl, survey)["checksum"]
        )

    def _decide(self, planned: Planned, turn: _Turn) -> Decision:
        crawl = planned.crawl
        assert planned.facts
        for other in turn.unanswered:
            if other.crawl.period == crawl.period:
                return Decision(SKIP, "waits", other.crawl.id)
        same = turn.planned.get(crawl.period) or self.remote.facts(crawl.source_id, crawl.period)
        if same:
            return decide(planned.facts, same, None)
        earlier = self._earlier(crawl, turn)
        decision = decide(planned.facts, None, earlier)
        for other in turn.unanswered:
            if (earlier is None or other.crawl.period >= earlier.period) and _may_change(decision, planned, other):
                return Decision(SKIP, "waits", other.crawl.id)
        return decision

    def _earlier(self, crawl: Crawl, turn: _Turn) -> Facts | None:
        planned = max((p for p in turn.planned if p < crawl.period), default=None)
        there = self.remote.latest_before(crawl.source_id, crawl.period)
        if planned and (there is None or planned >= there.period):
            return turn.planned[planned]
        return there

    def find_log(self, crawl: Crawl) -> Path | None:
        """Return the log of a crawl whose deletion has begun."""
        return self._logs.find(crawl.source_id, crawl.hidden, crawl.data_version)

    def log(self, crawl: Crawl, survey: Survey) -> LogSummary | None:
        """Return what a decision needs of a crawl's log, or None if there is no log."""
        if not self._refresh and (name := self._cache.log_of(crawl.id, survey.fingerprint)):
            path = self._config.logs_directory / crawl.source_id / name
            if known := self._known_log(crawl, survey, path):
                return known
        path_found = self._logs.find(crawl.source_id, crawl.directory, crawl.data_version)
        if path_found is None:
            return None
        if not self._refresh and (known := self._known_log(crawl, survey, path_found)):
            return known
        fingerprint = log_fingerprint(path_found)
        log = read_log(path_found)
        summary = LogSummary(
            path_found,
            fingerprint,
            log.files + log.file_items,
            log.errors,
            log.finished,
            not log.narrowed_by,
            log.error_rate <= 0.5,
        )
        if log_fingerprint(path_found) == fingerprint:
            self._remember(crawl, survey, summary, {})
        return summary

    def _known_log(self, crawl: Crawl, survey: Survey, path: Path) -> LogSummary | None:
        try:
            fingerprint = log_fingerprint(path)
        except OSError:
            return None
        facts = self._cache.facts(crawl.id, survey.fingerprint, crawls.show(path.name), fingerprint)
        if not facts:
            return None
        return LogSummary(
            path,
            fingerprint,
            *(facts[key] for key in ("files", "errors", "finished", "complete", "clean")),
        )

    def _remember(self, crawl: Crawl, survey: Survey, log: LogSummary, more: dict[str, Any]) -> None:
        facts = {key: getattr(log, key) for key in ("files", "errors", "finished", "complete", "clean")}
        self._cache.remember_facts(
            crawl.id, survey.fingerprint, crawls.show(log.path.name), log.fingerprint, {**facts, **more}
        )

    def _checksum(self, crawl: Crawl, survey: Survey) -> dict[str, str]:
        """Return the checksums of a crawl: of all files, and of the data. It is read at most once."""
        key = crawl.id, survey.fingerprint
        if key not in self._checksums:
            log = examined.log if (examined := self._examined.get(crawl.id)) else None
            facts = None
            if log and not self._refresh:
                facts = self._cache.facts(*key, crawls.show(log.path.name), log.fingerprint)
            if not facts or "data_checksum" not in facts:
                found = checksum(crawl)
                facts = {"checksum": found.all, "data_checksum": found.data}
                if log:
                    self._remember(crawl, survey, log, facts)
            self._checksums[key] = {name: facts[name] for name in ("checksum", "data_checksum")}
        return self._checksums[key]

    def tried(self, crawl: Crawl) -> None:
        """Look at a crawl and its month again, before anything is concluded from what may have half succeeded."""
        self._examined.pop(crawl.id, None)
        self.remote.refresh(crawl.source_id, crawl.period)

    def deleted(self, crawl: Crawl) -> None:
        """Take note that a crawl is no longer on disk."""
        self.disk.crawls[crawl.source_id].remove(crawl)
        self._cache.forget(crawl.id)

    def record(self, planned: Planned) -> None:
        """Write a decision into the cache, from which pruning takes its permission."""
        if planned.survey and not planned.error:
            self._cache.record_decision(
                planned.crawl.id,
                Recorded(
                    planned.decision.action,
                    planned.decision.reason,
                    planned.decision.compared_with,
                    planned.survey.fingerprint,
                    crawls.show(planned.log.path.name) if planned.log else "",
                    planned.log.fingerprint if planned.log else "",
                ),
            )


def _may_change(decision: Decision, planned: Planned, other: Planned) -> bool:
    """Return whether a decision could be another if an earlier crawl, of which nothing is known yet, were archived."""
    if planned.facts is None or other.facts is None:
        return True
    try:
        return decide(planned.facts, None, other.facts).action != decision.action
    except KingfisherError:  # the other cannot be read
        return True


def _superseded(planned: Planned, last: Planned | None) -> Planned:
    """Leave a crawl on disk, and do not send it, if a later one of its month would replace it at once."""
    if last is None or last is planned or planned.archived or planned.error:
        return planned
    if planned.decision.action == ARCHIVE:
        return replace(planned, decision=Decision(KEEP, "superseded", last.crawl.id))
    if planned.decision.action == KEEP and planned.decision.reason == "same_period":
        return replace(planned, decision=replace(planned.decision, compared_with=last.crawl.id))
    return planned
