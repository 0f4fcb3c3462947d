"""Settings of the tests. Subprocesses use them too: the environment says which databases.

DATABASE_URL, OTHER_DATABASE_URL: the databases `default` and `other`.
USE_TZ: "0" for a host without time zones, far from UTC.
AI_MIGRATION_JSON: merged into AI_MIGRATION, key by key.
Q_CLUSTER_JSON: installs django-q2, with this Q_CLUSTER.
REST: a host of the REST API, as its documentation says.
ACCEPTANCE_JSON: installs tests.acceptance.apps, which reads it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import dj_database_url

BASE_DIR = Path(__file__).resolve().parent


def database_settings(url: str) -> dict[str, Any]:
    """One entry of DATABASES. SQLite as it has to be for several threads and processes:
    write-ahead log, and writers that queue up instead of failing half-way."""
    parsed: dict[str, Any] = {**dj_database_url.parse(url)}
    if parsed["ENGINE"] == "django.db.backends.sqlite3":
        parsed["OPTIONS"] = {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    return parsed


SECRET_KEY = "for tests only"
USE_TZ = os.environ.get("USE_TZ", "1") == "1"
TIME_ZONE = "UTC" if USE_TZ else "America/New_York"  # where a mistake of hours is seen
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "tests.urls"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "ai_migration",
    "tests.testapp",
]
MIDDLEWARE = [
    "tests.policies.strict",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
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
STATIC_URL = "static/"
DATABASES = {
    "default": database_settings(
        os.environ.get("DATABASE_URL", f"sqlite:///{BASE_DIR / 'default.sqlite3'}")
    ),
    "other": database_settings(
        os.environ.get("OTHER_DATABASE_URL", f"sqlite:///{BASE_DIR / 'other.sqlite3'}")
    ),
    "nowhere": {},  # nobody can connect to it: see tests/routers.py
}
DATABASE_ROUTERS = ["tests.routers.Router"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

if "Q_CLUSTER_JSON" in os.environ:
    INSTALLED_APPS.append("django_q")
    Q_CLUSTER: dict[str, Any] = json.loads(os.environ["Q_CLUSTER_JSON"])

if "REST" in os.environ:
    ROOT_URLCONF = "tests.rest_urls"
    ALLOWED_HOSTS = ["localhost", "127.0.0.1", "testserver"]
    INSTALLED_APPS += [
        "rest_framework",
        "rest_framework.authtoken",
        "drf_spectacular",
        "drf_spectacular_sidecar",
    ]
    # Swagger UI styles its pictures within the page.
    MIDDLEWARE[0] = "django.middleware.common.CommonMiddleware"
    SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    REST_FRAMEWORK = {
        "DEFAULT_AUTHENTICATION_CLASSES": [
            "rest_framework.authentication.TokenAuthentication",
            "rest_framework.authentication.SessionAuthentication",
        ],
        "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    }

if "ACCEPTANCE_JSON" in os.environ:
    INSTALLED_APPS.append("tests.acceptance.apps.Switches")

AI_MIGRATION: dict[str, Any] = {
    "ENTITY_CONFIG": BASE_DIR / "testapp" / "ai-entity-config.yml",
    "EMBEDDERS": {
        "default": {
            "BACKEND": "ai_migration.embedders.hash.HashEmbedder",
            "OPTIONS": {"dimensions": 32},
        }
    },
    "STORES": {"default": {"BACKEND": "ai_migration.stores.database.DatabaseStore"}},
    "TARGET_BATCH_SECONDS": None,  # batches of the size that a test says
    "SYNC": "off",  # unless it is what a test is about
    **json.loads(os.environ.get("AI_MIGRATION_JSON", "{}")),
}
