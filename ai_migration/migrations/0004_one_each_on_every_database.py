"""What partial indexes said, said so that MySQL and MariaDB understand it too."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('ai_migration', '0003_slots_are_woken'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='collection',
            name='ai_collections_one_active',
        ),
        migrations.RemoveConstraint(
            model_name='collection',
            name='ai_collections_one_building',
        ),
        migrations.RemoveConstraint(
            model_name='entityfailure',
            name='ai_entity_failures_job',
        ),
        migrations.RemoveConstraint(
            model_name='entityfailure',
            name='ai_entity_failures_live',
        ),
        migrations.RemoveConstraint(
            model_name='migrationjob',
            name='ai_migration_jobs_one_open',
        ),
        # First: MySQL needs one for the foreign key while others go.
        migrations.AddIndex(
            model_name='queueentry',
            index=models.Index(fields=['job'], name='ai_indexing_queue_of_job'),
        ),
        migrations.RemoveIndex(
            model_name='queueentry',
            name='ai_indexing_queue_next',
        ),
        migrations.RemoveIndex(
            model_name='queueentry',
            name='ai_indexing_queue_claimed',
        ),
        migrations.RemoveIndex(
            model_name='queueentry',
            name='ai_indexing_queue_job',
        ),
        migrations.AddField(
            model_name='collection',
            name='role',
            field=models.GeneratedField(db_persist=True, expression=models.Case(models.When(models.Q(('status', 'RETIRED'), _negated=True), then=models.F('status'))), output_field=models.CharField(max_length=10, null=True)),
        ),
        migrations.AddField(
            model_name='entityfailure',
            name='live_in',
            field=models.GeneratedField(db_persist=True, expression=models.Case(models.When(job=None, then=models.F('collection'))), output_field=models.BigIntegerField(null=True)),
        ),
        migrations.AddField(
            model_name='migrationjob',
            name='writes_to',
            field=models.GeneratedField(db_persist=True, expression=models.Case(models.When(status__in=('PENDING', 'RUNNING', 'PAUSED'), then=models.F('collection'))), output_field=models.BigIntegerField(null=True)),
        ),
        migrations.AddIndex(
            model_name='queueentry',
            index=models.Index(fields=['status', 'priority', 'id'], name='ai_indexing_queue_next'),
        ),
        migrations.AddIndex(
            model_name='queueentry',
            index=models.Index(fields=['status', 'job', 'id'], name='ai_indexing_queue_job'),
        ),
        migrations.AddConstraint(
            model_name='collection',
            constraint=models.UniqueConstraint(fields=('entity_type', 'role'), name='ai_collections_one_each'),
        ),
        migrations.AddConstraint(
            model_name='entityfailure',
            constraint=models.UniqueConstraint(fields=('job', 'entity_id'), name='ai_entity_failures_once'),
        ),
        migrations.AddConstraint(
            model_name='entityfailure',
            constraint=models.UniqueConstraint(fields=('live_in', 'entity_id'), name='ai_entity_failures_live'),
        ),
        migrations.AddConstraint(
            model_name='migrationjob',
            constraint=models.UniqueConstraint(fields=('writes_to',), name='ai_migration_jobs_one_open'),
        ),
    ]
