"""The files that are offered for download."""
