"""Commands as a person runs them."""

from __future__ import annotations

import io

from django.core.management import call_command


def sync(*arguments: str) -> tuple[int, str]:
    """Exit status and output of `manage.py sync`."""
    out = io.StringIO()
    try:
        call_command("sync", *arguments, stdout=out)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


def command(*arguments: str) -> tuple[int, str]:
    """Of `sync verify`."""
    return sync("verify", *arguments)
