"""Schedule, watch, drain and deploy with Scrapyd 1.6."""
