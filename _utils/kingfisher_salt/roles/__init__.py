"""What the pillar of a server may hold: the settings that states read, section by section."""
