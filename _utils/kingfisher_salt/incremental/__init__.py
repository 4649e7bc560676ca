"""Incremental crawls: which there are, how one is run, and how it went. Runs in the spiders' own Python too."""
