"""Library of kingfisher-salt: plain Python, no Salt."""
