"""Filters on source rows, and the moments that are named in them."""
