"""Settings of that project. The environment says which database, and who has our tables.

DATABASE_URL: the database.
DIRECTORY: for files.
OURS: ``tenants``, ``shared`` or ``both``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dj_database_url

DIRECTORY = Path(os.environ["DIRECTORY"])
OURS = os.environ["OURS"]
_DJANGOS = ["django.contrib.contenttypes", "django.contrib.auth"]
_STORES = "ai_migration.stores"

SECRET_KEY = "for tests only"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SHARED_APPS = ["django_tenants", "tests.tenants", *_DJANGOS]
TENANT_APPS = [*_DJANGOS]
if OURS != "shared":
    TENANT_APPS.append("ai_migration")
if OURS != "tenants":
    SHARED_APPS.append("ai_migration")
INSTALLED_APPS = list(dict.fromkeys([*SHARED_APPS, *TENANT_APPS]))
TENANT_MODEL = "tenants.Client"
TENANT_DOMAIN_MODEL = "tenants.Domain"
DATABASES: dict[str, Any] = {
    "default": {
        **dj_database_url.parse(os.environ["DATABASE_URL"]),
        "ENGINE": "django_tenants.postgresql_backend",
    }
}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
AI_MIGRATION: dict[str, Any] = {
    "ENTITY_CONFIG": Path(__file__).parent / "ai-entity-config.yml",
    "EMBEDDERS": {
        "default": {
            "BACKEND": "tests.tenants.embedders.WritingEmbedder",
            "OPTIONS": {"log": str(DIRECTORY / "log")},
        }
    },
    "STORES": {
        "default": {"BACKEND": f"{_STORES}.database.DatabaseStore"},
        "pgvector": {"BACKEND": f"{_STORES}.pgvector.PgVectorStore"},
        "memory": {"BACKEND": f"{_STORES}.memory.MemoryStore"},
        "file": {
            "BACKEND": f"{_STORES}.sqlite_vec.SqliteVecStore",
            "OPTIONS": {"path": str(DIRECTORY / "vectors.sqlite3")},
        },
    },
}
