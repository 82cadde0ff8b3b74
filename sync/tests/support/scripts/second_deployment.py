"""Migrates another database and saves two accounts, the first with the given key."""

import sys

import django


def main(shared: str) -> None:
    from django.core.management import call_command

    from finance.models import Account

    call_command("migrate", verbosity=0, run_syncdb=True)
    Account(id=shared, account_id=1, limit=999).save()
    Account(id="b" * 24, account_id=2, limit=999).save()


if __name__ == "__main__":
    django.setup()
    main(sys.argv[1])
