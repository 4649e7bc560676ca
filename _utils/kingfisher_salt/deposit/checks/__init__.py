"""The checks of a deposit server that Icinga runs."""
