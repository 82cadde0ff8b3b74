"""The words of the customers that exist already. In batches; a run that is interrupted continues when repeated."""

from django.db import migrations

from finance.searching import write_all_words


def fill(apps, schema_editor):
    models = apps.get_model('finance', 'Customer'), apps.get_model('finance', 'CustomerWord')
    write_all_words(schema_editor.connection.alias, *models)


class Migration(migrations.Migration):

    atomic = False
    dependencies = [
        ('finance', '0007_customer_words'),
    ]

    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
