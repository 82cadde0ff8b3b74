"""A relay is killed with SIGKILL during its batches, twenty times, while threads save and delete the same keys."""

import os
import random
import threading
import time
from typing import Any

import pytest
from django.db import connections
from pymongo.database import Database

from finance.models import Account
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.compare import differences, rows
from sync.tests.support.processes import relaying

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine, pytest.mark.slow]

KILLS = 20
KEYS = [f"{number:024x}" for number in range(1, 21)]


def write_at_random(seed: int, stop: threading.Event) -> None:
    """Save and delete a few keys at random."""
    chance = random.Random(seed)
    try:
        while not stop.is_set():
            key = chance.choice(KEYS)
            if chance.random() < 0.4:
                Account.objects.filter(pk=key).delete()
            else:
                Account.objects.update_or_create(
                    pk=key, defaults={"account_id": chance.randrange(1000), "limit": chance.randrange(10**6)}
                )
    finally:
        connections.close_all()


def test_nothing_is_missing_stale_or_resurrected(mongo: Database, settings: Any) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    settings.SYNC_INLINE = False  # relays deliver everything
    stop = threading.Event()
    writers = [threading.Thread(target=write_at_random, args=(seed + number, stop)) for number in range(2)]
    for writer in writers:
        writer.start()
    chance = random.Random(seed)
    with relaying(batch=10), relaying(batch=10) as relay:
        try:
            for _ in range(KILLS):
                time.sleep(0.6 + chance.random() * 0.4)  # a relay needs about 0.5 s to start
                relay.kill()
                relay.start()
        finally:
            stop.set()
            for writer in writers:
                writer.join()
    deadline = time.monotonic() + 60
    while Change.objects.exists() and time.monotonic() < deadline:
        Relay().drain()
        time.sleep(0.2)
    assert not Change.objects.exists(), "everything is delivered, and every delete has settled"
    assert 0 < len(rows(Account)) <= len(KEYS)
    assert differences(Account, mongo) == []
