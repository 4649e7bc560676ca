"""The settings that matter to operators, under the names that the Data Registry has for them."""

import json
import os
from pathlib import Path

from core.environment import read

# A container has variables instead of the file.
_path = Path("settings.json")
_given = json.loads(_path.read_text()) if _path.exists() else read(os.environ)

SECRET_KEY = "for tests"
DEBUG = False
USE_TZ = True
INSTALLED_APPS = ["data_registry.apps.DataRegistryConfig", "exporter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", **_given["database"]}}
# The Data Registry's logs share a terminal with what it is asked.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}

RABBIT_URL = _given["rabbit_url"]
RABBIT_EXCHANGE_NAME = _given["exchange"]
JOB_TASKS_PLAN = _given.get("plan", ["collect", "process", "pelican", "exporter", "flattener"])
SCRAPYD = {"url": _given["scrapyd_url"], "project": _given["scrapyd_project"]}
KINGFISHER_PROCESS_URL = _given["process_url"]
PELICAN_FRONTEND_URL = _given["pelican_url"]
EXPORTER_DIR = _given["exporter_directory"]
