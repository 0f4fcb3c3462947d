"""Documentation entries: real text that every Python includes."""

from __future__ import annotations

from django.db import models


class DocEntry(models.Model):
    """The documentation of one module, class, function, method or property."""

    class Kind(models.TextChoices):
        """Kind of a documented object."""

        MODULE = "module"
        CLASS = "class"
        FUNCTION = "function"
        METHOD = "method"
        PROPERTY = "property"

    qualified_name = models.CharField(max_length=255, unique=True)
    title = models.CharField(max_length=255, help_text="The qualified name in words.")
    module = models.CharField(max_length=255, db_index=True)
    kind = models.CharField(max_length=10, choices=Kind)
    signature = models.TextField(blank=True)
    summary = models.TextField(help_text="The first paragraph.")
    docstring = models.TextField()
    package = models.CharField(max_length=255, db_index=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name_plural = "doc entries"

    def __str__(self) -> str:
        return self.qualified_name
