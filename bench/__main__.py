"""Take all measures, and print one table."""

from bench import archive, dry_run, memory, scrapy_log, small
from bench.measuring import arguments, machine, say, show

given = arguments(__doc__)
rows = []
for module in (archive, memory, scrapy_log, dry_run, small):
    say(f"{module.__name__} …")
    rows += module.measure(given.scale, given.rounds)
show(rows)
print(f"\n{machine()}; SeaweedFS on the same machine, over HTTP. Scale {given.scale:g}, rounds {given.rounds}.")
