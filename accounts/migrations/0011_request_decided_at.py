from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0010_deletion_request")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="request_decided_at",
            field=models.DateTimeField(blank=True, editable=False, null=True, verbose_name="decided on"),
        ),
    ]
