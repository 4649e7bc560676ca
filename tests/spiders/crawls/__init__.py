"""A Scrapy project whose spiders need no network: their pages are data: URLs."""
