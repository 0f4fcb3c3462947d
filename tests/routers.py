"""Archive lives in the database `other`, everything else in `default`."""

from __future__ import annotations

from typing import Any

from django.db.models import Model


class Router:
    """What DATABASE_ROUTERS names."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        return "other" if model._meta.model_name == "archive" else None

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        return self.db_for_read(model)

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **hints: Any
    ) -> bool:
        return (db == "other") == (model_name == "archive")
