"""See what the engine does, and whether it is well."""
