"""The example project's settings, with an embedder that takes no time.

Environment, beside DATABASE_URL:
    BENCH_EMBEDDER: Class path of the embedder.
    BENCH_EMBEDDER_OPTIONS: Its options, as JSON.
    BENCH_EMBEDDER_LIMITS: More of its alias, as JSON.
    BENCH_STORE: Class path of the store.
    BENCH_AI_MIGRATION: More of AI_MIGRATION, as JSON.
    BENCH_CLUSTER: Slots of a django-q2 cluster that works; without it there is none.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "example_project")]

from example_project.settings import *  # noqa: E402, F403
from example_project.settings import AI_MIGRATION, DATABASES, INSTALLED_APPS  # noqa: E402

DEBUG = False
AI_MIGRATION = {
    **AI_MIGRATION,
    "SYNC": "queue",
    "ENTITY_CONFIG": HERE / "ai-entity-config.yml",
    "EMBEDDERS": {
        "default": {
            "BACKEND": os.environ.get("BENCH_EMBEDDER", "ai_migration.embedders.hash.HashEmbedder"),
            "OPTIONS": json.loads(os.environ.get("BENCH_EMBEDDER_OPTIONS", "{}")),
            **json.loads(os.environ.get("BENCH_EMBEDDER_LIMITS", "{}")),
        }
    },
    "STORES": {
        "default": {
            "BACKEND": os.environ.get("BENCH_STORE", AI_MIGRATION["STORES"]["default"]["BACKEND"])
        }
    },
    **json.loads(os.environ.get("BENCH_AI_MIGRATION", "{}")),
}

if slots := int(os.environ.get("BENCH_CLUSTER", "0")):
    INSTALLED_APPS = [*INSTALLED_APPS, "django_q"]
    DATABASES["default"]["CONN_MAX_AGE"] = 60
    AI_MIGRATION |= {
        "DISPATCHER": "ai_migration.dispatchers.django_q.DjangoQDispatcher",
        "WORKERS": slots,
    }
    Q_CLUSTER = {
        "name": "bench",
        "orm": "default",
        "workers": slots,
        "timeout": 60,
        "retry": 600,
        "queue_limit": 4,
        "ack_failures": True,
        "max_attempts": 1,
    }
