from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('finance', '0004_database_defaults'),
    ]

    operations = [
        migrations.RenameModel('Figures', 'CachedReport'),
    ]
