"""Commands as a person runs them."""

from __future__ import annotations

import io

from django.core.management import call_command


def command(*arguments: str) -> tuple[int, str]:
    """Exit status and output of `sync verify`."""
    out = io.StringIO()
    try:
        call_command("sync", "verify", *arguments, stdout=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()
