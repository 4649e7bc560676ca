"""
Apply 1,000 incremental crawls of which none changed: ours, and a cron.present and a file.managed for each.

Both are ``salt-call --local state.apply``, from its start to its end. The crontab command is a stand-in, which keeps
its table in a file, so that this machine's own is not touched; what Salt does with it is the same. Ours lists the
spiders of a small project, which takes a second.
"""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml

from bench import ROOT
from bench.measuring import Row, main, say

CRAWLS = 1000
SPIDERS = ("borduria_api", "freedonia_api", "sylvania_bulk")
CRONTAB = """\
#!/bin/sh
# crontab [-u USER] -l, or crontab [-u USER] FILE, with the table in a file
table={table}
[ "$1" = -u ] && shift 2
case $1 in
    -l) [ -e "$table" ] && cat "$table" || exit 1 ;;
    *) cp "$1" "$table" ;;
esac
"""
MINION = """\
id: bench
root_dir: {root}
file_client: local
file_roots: {{base: [{root}/states, {checkout}/salt]}}
pillar_roots: {{base: [{root}/pillar]}}
enable_fqdns_grains: false
log_level_logfile: quiet
"""
OURS = "crawls:\n  kingfisher_incremental.crawls: []\n"
# As people write it: a script and an entry for each crawl.
TODAY = """\
{% for crawl in pillar.python_apps.kingfisher_collect.crawls %}
{{ pillar.root }}/bin/{{ crawl.identifier }}.sh:
  file.managed:
    - source: salt://cron.sh
    - template: jinja
    - context:
        crawl: {{ crawl | json }}
    - makedirs: True
    - mode: 755

add OCDS_KINGFISHER_COLLECT_{{ crawl.identifier }} cron job:
  cron.present:
    - identifier: OCDS_KINGFISHER_COLLECT_{{ crawl.identifier }}
    - name: {{ pillar.root }}/bin/{{ crawl.identifier }}.sh
    - user: {{ pillar.user }}
    - hour: 0
    - minute: 15
    - require:
      - file: {{ pillar.root }}/bin/{{ crawl.identifier }}.sh
{% endfor %}
"""
SCRIPT = """\
#!/bin/sh
set -eu
cd /home/incremental/kingfisher-collect
.ve/bin/scrapy crawl {{ crawl.spider }} {{ crawl.spider_arguments }} -a crawl_time={{ crawl.crawl_time }}T00:00:00
"""


class Minion:
    """A minion without a master, in a directory, with so many crawls in its pillar."""

    def __init__(self, root: Path, count: int):
        self.root = root
        self.count = count
        for name, text in {
            "etc/minion": MINION.format(root=root, checkout=ROOT),
            "states/ours.sls": OURS,
            "states/today.sls": TODAY,
            "states/cron.sh": SCRIPT,
            "pillar/top.sls": "base: {bench: [crawls]}",
            "pillar/crawls.sls": yaml.safe_dump(self._pillar()),
            "path/crontab": CRONTAB.format(table=root / "table"),
        }.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (root / "path/crontab").chmod(0o755)
        (root / "home").mkdir()
        (root / "home/kingfisher-collect").symlink_to(ROOT / "tests/incremental_project")
        self._call("saltutil.sync_all")

    def apply(self, sls: str) -> tuple[float, int]:
        """Return how long it took, in seconds, and how many states changed anything."""
        began = time.perf_counter()
        states = self._call("state.apply", sls)
        took = time.perf_counter() - began
        if wrong := [state["comment"] for state in states.values() if not state["result"]]:
            raise SystemExit(f"{sls}: {wrong[0]}")
        return took, sum(bool(state["changes"]) for state in states.values())

    def _call(self, *arguments: str) -> Any:
        ended = subprocess.run(
            [ROOT / ".venv/bin/salt-call", "--local", f"--config-dir={self.root}/etc", "--out=json", *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": f"{self.root}/path:{os.environ['PATH']}"},
            check=False,
        )
        try:
            answer = json.loads(ended.stdout)["local"]
        except (ValueError, KeyError):
            raise SystemExit(ended.stdout + ended.stderr) from None
        if isinstance(answer, list):
            raise SystemExit("\n".join(answer))
        return answer

    def _pillar(self) -> dict[str, Any]:
        crawls = [
            {
                "identifier": f"CRAWL_{number}",
                "spider": SPIDERS[number % len(SPIDERS)],
                "crawl_time": str(date(2020, 1, 1) + timedelta(days=number)),
                "spider_arguments": f"-a table_name=crawl_{number}",
            }
            for number in range(self.count)
        ]
        app = {
            "user": getpass.getuser(),
            "directory": str(self.root / "home"),
            "program_directory": str(self.root / "opt"),
            "virtualenv": str(ROOT / ".venv-scrapyd"),
            "cron": {"file": str(self.root / "cron")},
            "crawls": crawls,
        }
        return {"root": str(self.root), "user": getpass.getuser(), "python_apps": {"kingfisher_collect": app}}


def measure(scale: float, rounds: int) -> list[Row]:
    full = max(8, round(CRAWLS * scale))
    seconds: dict[str, dict[int, float]] = {"ours": {}, "today": {}}
    for count in (full // 4, full // 2, full):
        with tempfile.TemporaryDirectory() as directory:
            minion = Minion(Path(directory), count)
            for sls, times in seconds.items():
                first, _ = minion.apply(sls)
                again = [minion.apply(sls) for _ in range(rounds if sls == "ours" else 1)]
                if any(changed for _, changed in again):
                    raise SystemExit(f"{sls}: a second apply changed something")
                times[count] = sorted(took for took, _ in again)[len(again) // 2]
                say(f"{count} crawls, {sls}: first apply {first:.1f} s, no change {times[count]:.1f} s")
    ours, today = seconds["ours"], seconds["today"]
    return [
        Row(
            f"apply {count} incremental crawls, none changed",
            f"{today[count]:.1f} s",
            "≥ 5 times as fast" if count == full else "linear",
            f"{ours[count]:.1f} s: {today[count] / ours[count]:.1f} times as fast, "
            f"{_each(ours, count):.1f} ms for each crawl more (today: {_each(today, count):.1f} ms)",
        )
        for count in (full // 2, full)
    ]


def _each(times: dict[int, float], count: int) -> float:
    """Return what each crawl costs more, against half as many, in milliseconds."""
    return (times[count] - times[count // 2]) / (count - count // 2) * 1000


if __name__ == "__main__":
    main(__doc__, measure)
