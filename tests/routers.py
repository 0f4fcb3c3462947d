"""Archive lives in the database `other`, everything else in `default`; and whatever reads our
tables elsewhere than they are written reads from `nowhere`, where nobody can connect."""

from __future__ import annotations

from typing import Any

from django.db.models import Model


class Router:
    """What DATABASE_ROUTERS names."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        return "nowhere" if model._meta.app_label == "ai_migration" else self.db_for_write(model)

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        return "other" if model._meta.model_name == "archive" else None

    def allow_migrate(
        self, db: str, app_label: str, model_name: str | None = None, **hints: Any
    ) -> bool:
        return (db == "other") == (model_name == "archive") and db != "nowhere"
