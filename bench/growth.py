"""Measures how costs grow with the number of existing rows. `python -m bench.growth`

At each size it measures: one saved row (plain and ours), bulk_create of 500 rows (ours), delivery of 5,000 pending
changes by a relay with two threads, a backfill of all rows over existing documents, a verification, the status, and
the peak memory of this process. One run goes through all sizes in ascending order.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.harness import plain_model, portal

SAVES = 200
PENDING = 5000
CREATED = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    options = parser.parse_args()
    with portal():
        sizes = sorted(options.rows)
        plain = plain_model()
        columns = [measure(rows, plain) for rows in sizes]
        table = Table("", *[f"{rows:,}" for rows in sizes], *[f"x {rows:,}" for rows in sizes[1:]])
        for name, first in columns[0].items():
            figures = [column[name] for column in columns]
            ratios = [f"{figure / first:.2f}" for figure in figures[1:]]
            table.add_row(name, *[f"{figure:.3f}" if figure < 10 else f"{figure:,.0f}" for figure in figures], *ratios)
        Console(width=120).print(table)


def measure(count: int, plain: Any) -> dict[str, float]:
    """Fills the tables up to `count` rows and measures. `plain` is the model that is not mirrored."""
    from django.test import override_settings

    from finance.models import Account
    from sync.mapping.registry import Target
    from sync.monitoring.status import status
    from sync.outbox import backfill
    from sync.outbox.models import Change
    from sync.outbox.relay import Relay
    from sync.verification.verify import verify

    def drain() -> None:
        Relay(threads=2).drain()
        assert not Change.objects.exists()

    def new(numbers: range) -> list[Any]:
        return [Account(account_id=number, limit=0, products=["Derivatives", "InvestmentStock"]) for number in numbers]

    for start in range(plain.objects.count(), count, PENDING):
        numbers = range(start, min(start + PENDING, count))
        plain.objects.bulk_create([plain(account_id=n, limit=0, products=["Derivatives"]) for n in numbers])
    with override_settings(SYNC_INLINE=False):
        for start in range(Account.objects.count(), count - CREATED, PENDING):
            Account.objects.bulk_create(new(range(start, min(start + PENDING, count - CREATED))))
            drain()
        made = timed(lambda: Account.objects.bulk_create(new(range(count - CREATED, count))))
        drain()
        keys = list(Account.objects.values_list("pk", flat=True))[:: max(count // PENDING, 1)]
        Account.objects.filter(pk__in=keys).update(limit=count)
        delivered = timed(drain) / len(keys)
        backfill.plan(Target(Account))
        backfilled = timed(drain) / count
    return {
        "plain save, ms": each(plain, list(plain.objects.values_list("pk", flat=True)[:SAVES])),
        "our save, ms": each(Account, keys[:SAVES]),
        "bulk_create of 500, ms": made,
        "relay, ms per document": delivered,
        "backfill, ms per document": backfilled,
        "verify, ms per document": timed(lambda: verify(Target(Account))) / count,
        "status, ms": timed(status),
        "peak memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }


def timed(call: Callable[[], Any]) -> float:
    """The duration of the call in milliseconds."""
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1000


def each(model: Any, keys: list[str]) -> float:
    """The median time in milliseconds to save each of these rows once. Reading the row is not measured."""
    times = []
    for key in keys:
        row = model.objects.get(pk=key)
        row.limit += 1
        times.append(timed(row.save))
    return statistics.median(times)


if __name__ == "__main__":
    main()
