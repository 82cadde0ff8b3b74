import sync.core.clock
import sync.models
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('sync', '0005_pull_history'),
    ]

    operations = [
        migrations.CreateModel(
            name='Checkpoint',
            fields=[
                ('name', models.CharField(help_text='Such as pull:finance.sale.', max_length=255, primary_key=True, serialize=False)),
                ('owner', models.CharField(blank=True, help_text='The process that holds the lease.', max_length=80)),
                ('holder', models.CharField(blank=True, help_text='What a person calls it.', max_length=120)),
                ('leased_until', models.DateTimeField(default=sync.core.clock.DatabaseNow)),
                ('state', sync.models.DocumentField(default=dict, help_text='Where the route goes on; each kind of route has its own form.')),
                ('paused', models.BooleanField(default=False)),
                ('in_sync_at', models.DateTimeField(help_text='When the target last had all that had changed until then.', null=True)),
                ('seen_at', models.DateTimeField(help_text='When a process last worked on it.', null=True)),
            ],
        ),
    ]
