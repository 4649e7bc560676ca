"""Look after a Software Heritage deposit server."""
