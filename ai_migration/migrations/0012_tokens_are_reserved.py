from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("ai_migration", "0011_read_where_written"),
    ]

    operations = [
        migrations.AddField(
            model_name="migrationjob",
            name="reserved_tokens",
            field=models.PositiveBigIntegerField(
                default=0,
                help_text="Sent and not settled yet, or by workers that died: with a budget only.",
            ),
        ),
    ]
