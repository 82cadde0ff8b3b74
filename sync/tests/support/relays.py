"""Relays in processes of their own."""

from __future__ import annotations

import subprocess
import sys

from django.conf import settings as django_settings
from django.db import connection


def start_relay(batch: int = 10) -> subprocess.Popen:
    """A relay of its own process, on the test database."""
    code = (
        "import django; django.setup();"
        "from django.db import connections;"
        f"connections['default'].settings_dict['NAME'] = {str(connection.settings_dict['NAME'])!r};"
        f"from sync.outbox.relay import Relay; Relay(batch={batch}, interval=0.01).run()"
    )
    return subprocess.Popen([sys.executable, "-c", code], cwd=django_settings.BASE_DIR, stderr=subprocess.DEVNULL)
