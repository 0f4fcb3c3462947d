import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ('ai_migration', '0003_slots_are_woken'),
    ]

    operations = [
        migrations.CreateModel(
            name='EngineMetrics',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('minute', models.DateTimeField()),
                ('slices', models.PositiveBigIntegerField(default=0)),
                ('claims', models.PositiveBigIntegerField(default=0, help_text='Entries that were claimed.')),
                ('batches', models.PositiveBigIntegerField(default=0, help_text='Batches that were written.')),
                ('batch_seconds', models.FloatField(default=0.0, help_text='From read to written, added up over the batches.')),
                ('entities', models.PositiveBigIntegerField(default=0)),
                ('texts', models.PositiveBigIntegerField(default=0, help_text='Texts that were embedded.')),
                ('recoveries', models.PositiveBigIntegerField(default=0, help_text='Entries of dead workers that went back to the queue.')),
                ('fences_lost', models.PositiveBigIntegerField(default=0, help_text='Results that were dropped: somebody else owned the work by then.')),
                ('slot', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='metrics', to='ai_migration.workerslot')),
            ],
            options={
                'verbose_name_plural': 'engine metrics',
                'db_table': 'ai_engine_metrics',
                'constraints': [models.UniqueConstraint(fields=('minute', 'slot'), name='ai_engine_metrics_one')],
            },
        ),
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
