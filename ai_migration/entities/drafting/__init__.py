"""Drafts a first ``ai-entity-config.yml`` from the models of the project."""
