"""Live load for the tests: processes that write customers, and deliver them, until they are told to stop."""

import random
import subprocess
import sys
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.db import connection

SAVED = {"address": "1 Main Street", "email": "live@example.org", "birthdate": "1990-01-01T00:00Z", "username": "live"}


def start(call: str) -> subprocess.Popen[str]:
    """A process that runs `call`, an expression over this module's functions; it ends when its input is closed."""
    code = (
        "import django; django.setup()\n"
        "from django.db import connections\n"
        f"connections['default'].settings_dict['NAME'] = {str(connection.settings_dict['NAME'])!r}\n"
        f"from sync.tests.support import load; load.{call}"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=settings.BASE_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def stop(process: subprocess.Popen[str]) -> int:
    """Ends a process in its own time; how much it says it has done."""
    said, _ = process.communicate(timeout=60)
    return int(said)


def relay() -> None:
    """Delivers; prints how many keys."""
    import threading

    from sync.mongodb.errors import Unavailable
    from sync.outbox.relay import Relay

    relay = Relay(interval=0.02)
    threading.Thread(target=lambda: (sys.stdin.read(), relay.stop.set()), daemon=True).start()
    delivered = 0
    while not relay.stop.wait(relay.interval):
        with suppress(Unavailable):  # a busy machine; the next round goes on
            delivered += sum(relay.drain().values())
    print(delivered)


def write(seed: int, inline: bool) -> None:
    """Saves, updates, deletes and creates again the customers named `live`; prints how many writes."""
    import select

    settings.SYNC_INLINE = inline
    from finance.models import Customer

    chance = random.Random(seed)
    keys = list(Customer.objects.filter(username="live").order_by("pk").values_list("pk", flat=True))
    hot = chance.sample(keys, 20)
    writes = 0
    while not select.select([sys.stdin], [], [], 0.002)[0]:
        key = chance.choice(hot if chance.random() < 0.3 else keys)
        _write(Customer, chance, key)
        writes += 1
    print(writes)


def _write(model: Any, chance: random.Random, key: str) -> None:
    tiers = {"abc": {"tier": "Gold", "benefits": [], "active": chance.random() < 0.5}}
    what = chance.random()
    if what < 0.2:
        model.objects.filter(pk=key).delete()
    elif what < 0.5:
        model.objects.filter(pk=key).update(name=f"name {chance.random()}", tier_and_details=tiers)
    else:
        model.objects.update_or_create(pk=key, defaults={**SAVED, "name": "live", "tier_and_details": tiers})
