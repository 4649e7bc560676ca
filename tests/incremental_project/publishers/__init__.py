"""A small Scrapy project that stores to PostgreSQL, anew at each crawl, as Kingfisher Collect's DatabaseStore does."""
