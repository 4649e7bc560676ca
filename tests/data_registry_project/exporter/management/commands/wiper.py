import shutil
from typing import Any

from django.core.management.base import BaseCommand

from exporter.util import Export, consume


class Command(BaseCommand):
    help = "Delete the files of deleted jobs"

    def handle(self, *_: Any, **__: Any) -> None:
        def remove(message: Any) -> None:
            shutil.rmtree(Export(message["job_id"]).directory, ignore_errors=True)

        consume("wiper_init", remove)
