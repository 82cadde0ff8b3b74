"""Runs `sync verify --repair` of two models, with a minute before a mismatch is rechecked."""

import django


def main() -> None:
    from django.core.management import call_command

    from sync.verification import verify

    verify.PAUSE = 60
    call_command("sync", "verify", "account", "customer", "--repair")


if __name__ == "__main__":
    django.setup()
    main()
