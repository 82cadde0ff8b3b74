from django.db import migrations

import sync.mapping.fields


class Migration(migrations.Migration):

    dependencies = [
        ('sync', '0004_change_database_defaults'),
    ]

    operations = [
        migrations.AddField(
            model_name='pullstate',
            name='history',
            field=sync.mapping.fields.DocumentField(help_text='Of which server and collection the token is; sync.mongodb.change_stream.History.', null=True),
        ),
    ]
