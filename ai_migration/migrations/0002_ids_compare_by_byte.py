"""Entity ids compare byte by byte.

On PostgreSQL a linguistic collation makes every index look-up of an id slower, and nobody
sorts ids for people. On MySQL and MariaDB the usual collations take ``a``, ``A`` and ``a `` for
the same, in names of entity types too. SQLite compares bytes anyway.
"""

from typing import Any

from django.db import migrations

ENTITY_ID = ["ai_searchable_entities", "ai_vectors", "ai_entity_failures"]
ENTITY_TYPE = ["ai_collections", "ai_migration_jobs", "ai_indexing_queue"]


def compare_by_byte(apps: Any, schema_editor: Any) -> None:
    connection = schema_editor.connection
    if connection.vendor == "postgresql":
        for table in ENTITY_ID:
            schema_editor.execute(
                f'ALTER TABLE {table} ALTER COLUMN entity_id TYPE varchar(255) COLLATE "C"'
            )
    elif connection.vendor == "mysql":
        by_byte = "utf8mb4_nopad_bin" if connection.mysql_is_mariadb else "utf8mb4_0900_bin"
        for column, tables in (("entity_id", ENTITY_ID), ("entity_type", ENTITY_TYPE)):
            for table in tables:
                schema_editor.execute(
                    f"ALTER TABLE {table} MODIFY {column} varchar(255) "
                    f"CHARACTER SET utf8mb4 COLLATE {by_byte} NOT NULL"
                )


class Migration(migrations.Migration):
    dependencies = [("ai_migration", "0001_initial")]
    operations = [
        # Not atomic: MySQL has no transactions around changes of a schema.
        migrations.RunPython(compare_by_byte, migrations.RunPython.noop, atomic=False)
    ]
