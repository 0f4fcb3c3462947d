from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ai_migration", "0016_changes_are_coalesced")]

    operations = [
        migrations.AddField(
            "enginemetrics",
            "freshness",
            models.JSONField(
                null=True,
                help_text="Live changes that became searchable, by their wait; see Freshness.",
            ),
        ),
    ]
