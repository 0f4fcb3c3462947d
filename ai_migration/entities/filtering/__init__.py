"""Filters on source rows, and the moments in them."""
