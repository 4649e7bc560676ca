"""The Data Registry: its publications, their jobs, and what those have in the other systems."""
