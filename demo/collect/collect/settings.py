"""Settings. A crawl is scheduled with PUBLISHER_URL, and with FILES_STORE unless it is in the environment."""

import os

BOT_NAME = "collect"
SPIDER_MODULES = ["collect.spiders"]
USER_AGENT = "kingfisher-salt demo"
ROBOTSTXT_OBEY = False
TELNETCONSOLE_ENABLED = False

# A page that fails is an error in the log, and is neither retried nor hidden from the spider.
RETRY_ENABLED = False
HTTPERROR_ALLOW_ALL = True

FILES_STORE = os.getenv("FILES_STORE", "")
PUBLISHER_URL = ""
EXTENSIONS = {"collect.files_store.FilesStore": 100}
LOG_FORMATTER = "collect.log_formatter.LogFormatter"
