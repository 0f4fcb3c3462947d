from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ('ai_migration', '0003_slots_are_woken'),
    ]

    operations = [
        migrations.AlterField(
            model_name='queueentry',
            name='claims',
            field=models.PositiveIntegerField(default=0, help_text='Claims that no worker came back from, and the present one.'),
        ),
        migrations.AddIndex(
            model_name='queueentry',
            index=models.Index(condition=models.Q(('claims__gt', 1)), fields=['claims'], name='ai_indexing_queue_suspects'),
        ),
    ]
