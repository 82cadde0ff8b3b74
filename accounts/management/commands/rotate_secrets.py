"""`manage.py rotate_secrets`: encrypts all second factors with a new key."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from allauth.mfa.models import Authenticator
from django.core.management.base import BaseCommand
from django.db import transaction

from accounts.encryption import InvalidToken, rotate, secrets_of

TOLD_EVERY = 1000  # second factors between two lines of progress

HELP = """
Encrypts the secrets of all second factors with the first of ENCRYPTION_KEYS (without that variable: with SECRET_KEY).

To rotate a key:
  1. Put a new key in front: ENCRYPTION_KEYS=new,old (or SECRET_KEY=new and SECRET_KEY_FALLBACKS=old). Restart.
  2. manage.py rotate_secrets
  3. Remove the old key. Restart.

exit status: 0 all secrets are encrypted with the first key; 1 no key decrypts some of them, which are unchanged
"""


class Command(BaseCommand):
    help = HELP

    def create_parser(self, *args: Any, **kwargs: Any) -> Any:
        parser = super().create_parser(*args, **kwargs)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only print what would be done")

    def handle(self, *args: Any, **options: Any) -> None:
        done = 0
        closed: list[int] = []
        keys = list(Authenticator.objects.order_by("pk").values_list("pk", flat=True))
        for number, pk in enumerate(keys, 1):
            if number % TOLD_EVERY == 0:
                self.stderr.write(f"{number} of {len(keys)}")
            with transaction.atomic():
                authenticator = Authenticator.objects.select_for_update().filter(pk=pk).first()
                if authenticator is None:  # removed meanwhile
                    continue
                if not _rotate(authenticator):
                    closed.append(authenticator.user_id)
                    continue
                if not options["dry_run"]:
                    authenticator.save(update_fields=["data"])
                done += 1
        would = "would be encrypted" if options["dry_run"] else "encrypted"
        self.stdout.write(f"Second factors {would} with the first key: {done}")
        if closed:
            people = ", ".join(map(str, sorted(set(closed))))
            self.stderr.write(
                f"No key decrypts {len(closed)} of them, of the users with these ids: {people}. "
                "Add the key that they were encrypted by, or remove these second factors in the admin."
            )
            sys.exit(1)


def _rotate(authenticator: Authenticator) -> bool:
    """Encrypts its secrets with the first key. Returns False if no key decrypts them."""
    try:
        for container, place in secrets_of(authenticator.data):
            container[place] = rotate(container[place])  # type: ignore[index]
    except InvalidToken:
        return False
    return True
