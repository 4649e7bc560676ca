from typing import Any

from django.core.management.base import BaseCommand

from exporter.util import write_files


class Command(BaseCommand):
    help = "Export the compiled collections of jobs"

    def handle(self, *_: Any, **__: Any) -> None:
        write_files("exporter_init", "full.jsonl.gz")
