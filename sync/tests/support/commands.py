"""Runs management commands in this process."""

from __future__ import annotations

import io

from django.core.management import call_command


def sync(*arguments: str) -> tuple[int, str]:
    """Run `manage.py sync`. Returns the exit status and the output."""
    out = io.StringIO()
    try:
        call_command("sync", *arguments, stdout=out)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


def command(*arguments: str) -> tuple[int, str]:
    """Run `manage.py sync verify`. Returns the exit status and the output."""
    return sync("verify", *arguments)
