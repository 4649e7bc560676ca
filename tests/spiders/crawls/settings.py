"""Settings. Others come with the crawls that tests schedule."""

BOT_NAME = "crawls"
SPIDER_MODULES = ["crawls.spiders"]
ROBOTSTXT_OBEY = False
TELNETCONSOLE_ENABLED = False
CONCURRENT_REQUESTS = 1
