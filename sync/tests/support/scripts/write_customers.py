"""Writes the customers named `live` until standard input is closed: saves, updates, deletes and creates them.

Arguments: a seed, and `inline` for inline delivery or `outbox` to leave it to a relay. Prints the number of writes.
"""

import random
import select
import sys
from typing import Any

import django
from django.conf import settings

SAVED = {"address": "1 Main Street", "email": "live@example.org", "birthdate": "1990-01-01T00:00Z", "username": "live"}


def main(seed: int, inline: bool) -> None:
    settings.SYNC_INLINE = inline
    from finance.models import Customer

    chance = random.Random(seed)
    keys = list(Customer.objects.filter(username="live").order_by("pk").values_list("pk", flat=True))
    hot = chance.sample(keys, 20)
    writes = 0
    while not select.select([sys.stdin], [], [], 0.002)[0]:
        write(Customer, chance, chance.choice(hot if chance.random() < 0.3 else keys))
        writes += 1
    print(writes)


def write(model: Any, chance: random.Random, key: str) -> None:
    tiers = {"abc": {"tier": "Gold", "benefits": [], "active": chance.random() < 0.5}}
    what = chance.random()
    if what < 0.2:
        model.objects.filter(pk=key).delete()
    elif what < 0.5:
        model.objects.filter(pk=key).update(name=f"name {chance.random()}", tier_and_details=tiers)
    else:
        model.objects.update_or_create(pk=key, defaults={**SAVED, "name": "live", "tier_and_details": tiers})


if __name__ == "__main__":
    django.setup()
    main(int(sys.argv[1]), sys.argv[2] == "inline")
