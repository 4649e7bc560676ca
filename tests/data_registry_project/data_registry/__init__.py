"""Publications, their jobs, and the tasks of those."""
