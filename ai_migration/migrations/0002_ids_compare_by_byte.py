"""Entity ids compare byte by byte.

On PostgreSQL a linguistic collation makes every index look-up of an id slower, and nobody
sorts ids for people. On MySQL and MariaDB the usual collations take ``a`` and ``A`` for the
same id. SQLite compares bytes anyway.
"""

from typing import Any

from django.db import migrations

COLUMNS = ["ai_searchable_entities", "ai_vectors", "ai_entity_failures"]

SQL = {
    "postgresql": 'ALTER TABLE {table} ALTER COLUMN entity_id TYPE varchar(255) COLLATE "C"',
    "mysql": (
        "ALTER TABLE {table} MODIFY entity_id varchar(255) "
        "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL"
    ),
}


def compare_by_byte(apps: Any, schema_editor: Any) -> None:
    sql = SQL.get(schema_editor.connection.vendor)
    if sql:
        for table in COLUMNS:
            schema_editor.execute(sql.format(table=table))


class Migration(migrations.Migration):
    dependencies = [("ai_migration", "0001_initial")]
    operations = [migrations.RunPython(compare_by_byte, migrations.RunPython.noop)]
