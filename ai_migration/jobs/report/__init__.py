"""Describe jobs and entity types: progress, lists, documents."""
