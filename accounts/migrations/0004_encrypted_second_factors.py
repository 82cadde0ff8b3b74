"""Secrets of second factors that were stored as they are: encrypts them."""

from django.db import migrations

from accounts.encryption import InvalidToken, decrypt, encrypt, secrets_of


def encrypt_all(apps, schema_editor):
    for authenticator in _all(apps, schema_editor):
        for container, place in secrets_of(authenticator.data):
            try:
                decrypt(container[place])
            except InvalidToken:
                container[place] = encrypt(container[place])
        authenticator.save(update_fields=["data"])


def decrypt_all(apps, schema_editor):
    for authenticator in _all(apps, schema_editor):
        for container, place in secrets_of(authenticator.data):
            container[place] = decrypt(container[place])
        authenticator.save(update_fields=["data"])


def _all(apps, schema_editor):
    return apps.get_model("mfa", "Authenticator").objects.using(schema_editor.connection.alias).iterator()


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_addresses_that_were_added"), ("mfa", "0003_authenticator_type_uniq")]
    operations = [migrations.RunPython(encrypt_all, decrypt_all)]
