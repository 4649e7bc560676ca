"""Real Debian hosts, booted by systemd on this machine, each with an address of its own."""
