"""A small Scrapy project that stores files and logs as Kingfisher Collect does."""
