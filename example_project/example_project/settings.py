"""Settings of the example project: it runs with nothing configured, on SQLite.

Environment:
    DATABASE_URL: Another database, such as ``postgresql://user:password@host/name``.
    DJANGO_DEBUG: 1 switches DEBUG on.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

BASE_DIR = Path(__file__).resolve().parent.parent

# For demonstration only: set your own in production.
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "example-project-not-for-production")
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
# DEBUG keeps every statement in memory, which a backfill has many of: only where pages are
# served, for their static files.
DEBUG = os.environ.get("DJANGO_DEBUG", "1" if "runserver" in sys.argv else "0") == "1"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "ai_migration",
    "pydocs",
    "catalog",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

ROOT_URLCONF = "example_project.urls"
WSGI_APPLICATION = "example_project.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"

# A worker and a web server write the same file: WAL lets readers read meanwhile, IMMEDIATE
# makes writers queue for the lock instead of failing halfway.
SQLITE_OPTIONS: dict[str, Any] = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}


def _database() -> dict[str, Any]:
    url = os.environ.get("DATABASE_URL")
    if url:
        import dj_database_url

        database = dict(dj_database_url.parse(url))
    else:
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}
    if database["ENGINE"] == "django.db.backends.sqlite3":
        database["OPTIONS"] = SQLITE_OPTIONS | database.get("OPTIONS", {})
    return database


DATABASES = {"default": _database()}

_use_pgvector = "postgresql" in DATABASES["default"]["ENGINE"] and find_spec("psycopg")

AI_MIGRATION = {
    # What is saved, in the admin say, is indexed by the same process: no worker is needed.
    "SYNC": "immediate",
    "ENTITY_CONFIG": "ai-entity-config.yml",
    "EMBEDDERS": {"default": {"BACKEND": "ai_migration.embedders.local.LocalEmbedder"}},
    "STORES": {
        "default": {
            "BACKEND": "ai_migration.stores.pgvector.PgVectorStore"
            if _use_pgvector
            else "ai_migration.stores.database.DatabaseStore"
        }
    },
}
