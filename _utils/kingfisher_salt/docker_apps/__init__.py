"""Bring up, update, roll back and take down applications that run under Docker Compose."""
