"""The files with which people who deploy spiders reach Scrapyd: ~/.netrc and ~/.config/scrapy.cfg."""
