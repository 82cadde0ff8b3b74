from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('sync', '0007_positions_to_checkpoints'),
    ]

    operations = [
        migrations.DeleteModel(
            name='BinlogPosition',
        ),
        migrations.DeleteModel(
            name='PullState',
        ),
    ]
