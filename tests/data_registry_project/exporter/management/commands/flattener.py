from typing import Any

from django.core.management.base import BaseCommand

from exporter.util import write_files


class Command(BaseCommand):
    help = "Convert exports to other formats"

    def handle(self, *_: Any, **__: Any) -> None:
        write_files("flattener_init", "full.csv.tar.gz", "full.xlsx")
