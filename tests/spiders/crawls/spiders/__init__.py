"""Spiders that do what crawls do to those who look after them."""
