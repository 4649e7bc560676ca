BOT_NAME = "publishers"
SPIDER_MODULES = ["publishers.spiders"]
TELNETCONSOLE_ENABLED = False
TWISTED_REACTOR = "twisted.internet.asyncioreactor.AsyncioSelectorReactor"
LOGSTATS_INTERVAL = 0.2

FILES_STORE = ""
DATABASE_URL = ""
EXTENSIONS = {"publishers.stores.FilesStore": 100, "publishers.stores.DatabaseStore": 200}

# What a crawl finds: pages from PAGE_FIRST on, PAGES of them, each with two releases.
PAGES = 2
PAGE_FIRST = 1
# A crawl waits for this file before its last page.
WAIT_FOR = ""
# The table is left as it is, though the crawl finishes.
BREAK_STORE = False
# The table is stored without some of its rows.
DROP_ROWS = 0
