"""Real servers on this machine, each a context manager that leaves no process behind."""
