"""The example project's settings, with an embedder that takes no time.

Environment, beside DATABASE_URL:
    BENCH_EMBEDDER: Class path of the embedder.
    BENCH_STORE: Class path of the store.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "example_project")]

from example_project.settings import *  # noqa: E402, F403
from example_project.settings import AI_MIGRATION  # noqa: E402

DEBUG = False
AI_MIGRATION = {
    **AI_MIGRATION,
    "ENTITY_CONFIG": HERE / "ai-entity-config.yml",
    "EMBEDDERS": {
        "default": {
            "BACKEND": os.environ.get("BENCH_EMBEDDER", "ai_migration.embedders.hash.HashEmbedder")
        }
    },
    "STORES": {
        "default": {
            "BACKEND": os.environ.get("BENCH_STORE", AI_MIGRATION["STORES"]["default"]["BACKEND"])
        }
    },
}
