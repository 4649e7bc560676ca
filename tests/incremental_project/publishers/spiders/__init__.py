"""One spider a publisher."""
