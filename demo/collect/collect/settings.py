"""Settings. A crawl is scheduled with FILES_STORE and PUBLISHER_URL."""

BOT_NAME = "collect"
SPIDER_MODULES = ["collect.spiders"]
USER_AGENT = "kingfisher-salt demo"
ROBOTSTXT_OBEY = False
TELNETCONSOLE_ENABLED = False

# A page that fails is an error in the log, and is neither retried nor hidden from the spider.
RETRY_ENABLED = False
HTTPERROR_ALLOW_ALL = True

FILES_STORE = ""
PUBLISHER_URL = ""
EXTENSIONS = {"collect.files_store.FilesStore": 100}
LOG_FORMATTER = "collect.log_formatter.LogFormatter"
