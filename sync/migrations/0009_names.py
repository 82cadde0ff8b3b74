"""The names of tables and columns are those that the field uses."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('sync', '0008_remove_positions'),
    ]

    operations = [
        migrations.RenameModel('Errand', 'Job'),
        migrations.RenameModel('Difference', 'Mismatch'),
        migrations.RenameModel('ParkedDocument', 'DeadLetter'),
        migrations.RenameField('DeadLetter', 'parked_at', 'failed_at'),
        migrations.RenameField('Change', 'lane', 'queue'),
        migrations.RenameField('Worker', 'lane', 'queue'),
        # The index follows the column by itself. Only Django's picture of it has to.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveIndex('Change', 'sync_change_due'),
                migrations.AddIndex(
                    'Change', models.Index(fields=['queue', 'failed', 'due_at'], name='sync_change_due')
                ),
            ],
        ),
        migrations.AlterField(
            model_name='job',
            name='unfinished',
            field=models.CharField(help_text='Its model, until it ends: one job at a time.', max_length=200, null=True, unique=True),
        ),
        migrations.AlterField(
            model_name='worker',
            name='lags',
            field=models.JSONField(default=dict, help_text='From commit to delivery, as LagHistogram counts them.'),
        ),
    ]
