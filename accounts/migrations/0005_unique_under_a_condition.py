"""What allauth declares as unique under a condition holds on MySQL and MariaDB too."""

from django.db import migrations

from accounts import uniqueness


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_encrypted_second_factors"),
        ("account", "0009_emailaddress_unique_primary_email"),
        ("mfa", "0003_authenticator_type_uniq"),
    ]
    operations = [
        migrations.RunPython(
            lambda apps, schema_editor: uniqueness.create(schema_editor.connection),
            lambda apps, schema_editor: uniqueness.remove(schema_editor.connection),
        )
    ]
