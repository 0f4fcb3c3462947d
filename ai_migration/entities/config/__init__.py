"""The config of entity types, from ``ai-entity-config.yml`` and ``@ai_capable``."""
