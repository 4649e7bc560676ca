"""
Archive the crawls of Kingfisher Collect on minions, and follow that with a progress bar.

:configuration: none. Copy the runner and its library to the master once, and after every update:
    ``salt-run saltutil.sync_all``.
"""

import os
import signal
import sys
import threading
import time

import salt.client
import salt.utils.args
import salt.utils.event
from salt.defaults.exitcodes import EX_UNAVAILABLE
from salt.exceptions import SaltException

try:
    from kingfisher_salt.progress import Board, Progress, describe_summary, printable

    MISSING = None
except ImportError as e:
    MISSING = e.name

__virtualname__ = "kingfisher"

FUNCTION = "kingfisher.archive"
INTERRUPTED = 130
#: How many failures are shown at once.
MOST_SAID = 10
#: For how long to wait for an event before looking at the clock and for Ctrl-C, in seconds.
TICK = 0.2
#: How often a minion must say that a job is not running there, to be believed: a return may be on its way.
DENIALS = 2
#: How often a minion may be asked without an answer, if nothing was ever heard of it: the master may be restarting.
SILENCES_AT_FIRST = 2
#: The same for a minion that was heard of: it may be busy or restarting.
SILENCES = 4


def __virtual__():
    if MISSING:
        return False, f"kingfisher: {MISSING} is not on the master: salt-run saltutil.sync_all"
    return __virtualname__


def archive(tgt, tgt_type="glob", **arguments):
    """
    Archive crawls on the minions that a target matches, and follow that until all of them returned.

    Progress goes to standard error. Returns ``jid``; ``minions``, by id, with the ``summary`` and ``failed`` that the
    minion returned, or with the ``error`` that kept it from doing so; and ``retcode``, which is also the exit code:
    1 if anything failed, 130 if it was interrupted. An interrupt does not stop the job.

    tgt
        The target.
    tgt_type
        The kind of target: glob, list, grain, compound and so on.

    Other arguments are those of ``kingfisher.archive`` on a minion.

    CLI Example:

    .. code-block:: bash

        salt-run kingfisher.archive registry dry_run=True
        salt-run kingfisher.archive 'role:registry' tgt_type=grain source=kyrgyzstan limit=1
    """
    arguments = salt.utils.args.clean_kwargs(**arguments)

    def start(follower):
        published = follower.publish(tgt, tgt_type, FUNCTION, salt.utils.args.condition_input([], arguments))
        if not published.get("minions"):
            return _refuse(
                f"no minion matches the {tgt_type} target {tgt!r}: salt-key --list-all tells which there are"
            )
        follower.board.say(f"Job {published['jid']} was started. To follow it elsewhere: {_again(published['jid'])}")
        return follower.follow(published["jid"], published["minions"])

    return _with_follower(start)


def follow(jid=None):
    """
    Follow a job of ``kingfisher.archive`` until all of its minions returned, or tell how it ended.

    Returns what the runner ``kingfisher.archive`` does.

    jid
        The job. The default is the newest that is running.

    CLI Example:

    .. code-block:: bash

        salt-run kingfisher.follow
        salt-run kingfisher.follow 20240501040506123456
    """

    def resume(follower):
        try:
            found, minions, returned = follower.find(None if jid is None else str(jid))
        except LookupError as e:
            return _refuse(str(e))
        if jid is None:
            follower.board.say(f"Following job {found}.")
        for minion, value in returned.items():
            follower.end(minion, value)
        return follower.follow(found, minions, ask=True)

    return _with_follower(resume)


def _with_follower(function):
    try:
        with _Interrupt() as interrupt, _Follower(interrupt) as follower:
            return function(follower)
    except SaltException as e:
        return _refuse(f"the master cannot be used: {e or 'it does not answer'}: is it running, and is this its user?")


def _refuse(error):
    return {"error": error, "retcode": 1}


def _terminal_size():
    return os.get_terminal_size(sys.stderr.fileno())


def _again(jid):
    return f"salt-run kingfisher.follow {jid}"


class _Interrupt:
    """
    Takes note of Ctrl-C, instead of an exception at any place. A second one does what it always did.

    Only the main thread can: elsewhere, nobody can press it.
    """

    def __init__(self):
        self.happened = False
        self._before = None

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._take_note)
        return self

    def __exit__(self, *_):
        self._restore()

    def _take_note(self, *_):
        self.happened = True
        self._restore()

    def _restore(self):
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None


class _Follower:
    """Follows one job on some minions, from before it begins."""

    def __init__(self, interrupt):
        self._interrupt = interrupt
        terminal = sys.stderr.isatty() and not __opts__.get("quiet")
        self.board = Board(sys.stderr, _terminal_size if terminal else None)
        self._runs = {}
        self._results = {}
        self._said = set()
        self._watch = None

    def __enter__(self):
        self._bus = salt.utils.event.get_event("master", sock_dir=__opts__["sock_dir"], opts=__opts__, listen=True)
        self._client = salt.client.get_local_client(__opts__["conf_file"])
        return self

    def __exit__(self, *_):
        self._client.destroy()
        self._bus.destroy()
        # Salt 3006 would end in a traceback if the master was restarted since: this lets it connect again.
        __jid_event__.event.close_pull()

    def publish(self, tgt, tgt_type, function, arguments):
        """Start a job without waiting for it. Unlike LocalClient.run_job, this prints nothing to standard output."""
        return self._client.pub(tgt, function, arguments, tgt_type=tgt_type) or {}

    def find(self, jid):
        """Return the given job, else the newest that is running: its id, its minions, and what they returned."""
        load = self._recorded("get_load", jid) if jid else {}
        running = set()
        if not load:
            # The job cache has a job of a minion's schedule only once it ended.
            active = {k: job for k, job in __salt__["jobs.active"]().items() if job["Function"] == FUNCTION}
            found = jid or max(active, default=None)
            if found not in active:
                what = f"there is no job {jid}" if jid else f"no job of {FUNCTION} is running"
                raise LookupError(f"{what}: salt-run jobs.list_jobs tells which there were")
            running = {minion for minions in active[found]["Running"] for minion in minions}
            jid = found
            load = self._recorded("get_load", jid)
        elif load["fun"] != FUNCTION:
            raise LookupError(f"job {jid} is one of {load['fun']}, not of {FUNCTION}")
        returned = self.returned(jid)
        return jid, running | set(load.get("Minions", ())) | set(returned), returned

    def returned(self, jid):
        """Return what minions returned until now, by minion."""
        return self._recorded("get_jid", jid)

    def _recorded(self, what, jid):
        # Not from the runner jobs: on 3008, it warns of itself at each call.
        cache = __opts__["ext_job_cache"] or __opts__["master_job_cache"]
        return self._client.returners[f"{cache}.{what}"](jid) or {}

    def follow(self, jid, minions, *, ask=False):
        """Return once all minions returned or are given up, or after Ctrl-C."""
        self._jid = jid
        now = time.monotonic()
        pending = set(minions) - set(self._results)
        self._runs.update({minion: Progress(minion, now) for minion in sorted(pending)})
        self._watch = _Watch(self, jid, now, ask=ask)
        while self._runs and not self._interrupt.happened:
            event = self._bus.get_event(wait=TICK, full=True, auto_reconnect=True)
            now = time.monotonic()
            if event:
                self._take(event["tag"].split("/"), event["data"], now)
            self._watch.check(set(self._runs), now)
            self.board.show(list(self._runs.values()), now)
        self.board.close()
        if self._runs:
            self.board.say(f"Stopped following. The job goes on. To follow it again: {_again(jid)}")
        return self._result()

    def end(self, minion, returned):
        """Take note of what a minion returned."""
        self._conclude(minion, _outcome(minion, returned))

    def give_up(self, minion, reason):
        """Take note that no return is to be expected."""
        self._conclude(minion, {"error": reason})

    def _take(self, tag, data, now):
        if tag[:3] == ["salt", "job", self._jid] and tag[3:4] == ["ret"]:
            self.end(data["id"], data)
        elif tag[:3] == ["kingfisher", "archive", self._jid] and len(tag) == 4 and isinstance(data.get("data"), dict):
            minion = data["id"]
            if minion not in self._runs:
                if "summary" in self._results.get(minion, ()):
                    return
                # It was given up too early.
                self._results.pop(minion, None)
                self._runs[minion] = Progress(minion, now)
            self._watch.heard(minion, now)
            if text := self._runs[minion].update(tag[3], data["data"], now):
                self._said.add(text)
                self.board.say(f"{minion}: {text}")
        else:
            self._watch.take(tag, data, now)

    def _conclude(self, minion, outcome):
        self._runs.pop(minion, None)
        self._results[minion] = outcome
        # What fails before the first crawl is archived has no event. All of it is in what is returned.
        unsaid = sorted(set(map(printable, outcome.get("failed", {}).values())) - self._said)
        for text in unsaid[:MOST_SAID]:
            self.board.say(f"{minion}: {text}")
        # An error may have more lines, with every problem of the settings.
        text = outcome["error"].splitlines()[0] if "error" in outcome else describe_summary(outcome["summary"])
        self.board.say(f"{minion}: {printable(text)}")

    def _result(self):
        running = {minion: {"running": True} for minion in self._runs}
        wrong = any("error" in outcome or outcome["failed"] for outcome in self._results.values())
        return {
            "jid": self._jid,
            "minions": dict(sorted({**self._results, **running}.items())),
            "retcode": INTERRUPTED if running else int(wrong),
        }


class _Watch:
    """Asks minions of which nothing is heard whether the job is running there, as salt does."""

    def __init__(self, follower, jid, now, *, ask):
        self._follower = follower
        self._jid = jid
        self._patience = max(1, __opts__["timeout"])
        self._answer_within = max(1, __opts__["gather_job_timeout"])
        self._since = now - self._patience if ask else now
        self._heard = {}
        self._denied = {}
        self._silent = {}
        self._question = None
        self._asked = set()
        self._asked_at = None

    def heard(self, minion, now):
        """Take note of a sign of life of the job."""
        self._heard[minion] = now
        self._denied.pop(minion, None)
        self._silent.pop(minion, None)

    def take(self, tag, data, now):
        """Take an answer."""
        if not self._question or tag[:4] != ["salt", "job", self._question, "ret"] or data["id"] not in self._asked:
            return
        minion = data["id"]
        self._asked.discard(minion)
        self._silent.pop(minion, None)
        if isinstance(data["return"], dict) and data["return"]:
            self.heard(minion, now)
        else:
            self._denied[minion] = self._denied.get(minion, 0) + 1
            self._heard[minion] = now - self._patience / 2
            if self._denied[minion] >= DENIALS:
                self._follower.give_up(
                    minion,
                    "the job is not running there, and nothing was returned: it was killed, or the minion was "
                    "restarted, or it did not begin. Its log tells. Archiving again loses nothing",
                )

    def check(self, pending, now):
        """Ask the minions of which nothing was heard, or give up on those that did not answer."""
        if self._asked_at is not None:
            if self._asked & pending and now - self._asked_at < self._answer_within:
                return
            self._asked_at = None
            for minion in sorted(self._asked & pending):
                self._missed(minion, now)
            return
        quiet = {minion for minion in pending if now - self._heard.get(minion, self._since) >= self._patience}
        if quiet:
            self._ask(quiet, now)

    def _ask(self, minions, now):
        # Events may be missed while the master is restarted.
        returned = self._follower.returned(self._jid)
        for minion in sorted(minions & returned.keys()):
            self._follower.end(minion, returned[minion])
        self._asked = minions - returned.keys()
        if not self._asked:
            return
        try:
            published = self._follower.publish(sorted(self._asked), "list", "saltutil.find_job", [self._jid])
        except SaltException:
            # The master is being restarted. That is not the minions' fault.
            self._since = now
            self._heard.update(dict.fromkeys(self._asked, now))
            return
        self._question = published.get("jid")
        self._asked_at = now

    def _missed(self, minion, now):
        self._silent[minion] = self._silent.get(minion, 0) + 1
        if minion not in self._heard and self._silent[minion] >= SILENCES_AT_FIRST:
            self._follower.give_up(minion, "the minion did not answer: salt-run manage.status tells which are up")
        elif self._silent[minion] >= SILENCES:
            self._follower.give_up(minion, f"the minion does not answer any more. When it does: {_again(self._jid)}")
        elif minion in self._heard:
            self._heard[minion] = now


def _outcome(minion, returned):
    """Return what matters of a minion's return."""
    value = returned["return"]
    if isinstance(value, dict) and "summary" in value:
        return {"summary": value["summary"], "failed": value.get("failed", {})}
    text = str(value).removeprefix("ERROR: ").strip()
    if "__virtual__ returned False" in text:
        text = text.partition("returned False: ")[2] or text
        return {"error": f"the minion cannot archive: {text}".replace("'ID'", f"'{minion}'")}
    if text == f"'{FUNCTION}' is not available." or returned.get("retcode") == EX_UNAVAILABLE:
        return {"error": f"the minion does not have {FUNCTION}: salt '{minion}' saltutil.sync_all"}
    return {"error": text or "the minion returned nothing"}
