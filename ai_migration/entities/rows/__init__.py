"""Walk and read source rows."""
