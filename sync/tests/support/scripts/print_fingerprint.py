"""Prints the fingerprint of the mapping of accounts."""

import django


def main() -> None:
    from finance.models import Account
    from sync.mapping.registry import Target
    from sync.outbox.mapping_changes import fingerprint

    print(fingerprint(Target(Account)))


if __name__ == "__main__":
    django.setup()
    main()
