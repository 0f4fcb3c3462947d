"""What ``ai-entity-config.yml`` and ``@ai_capable`` say of entity types."""
