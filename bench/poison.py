"""Measures how much undeliverable rows slow down all others: the same changes, clean and with 1% bad rows.

`python -m bench.poison`

unmappable and refused: half of the bad rows hold a value that BSON cannot represent; a validator of the collection
rejects the other half. unreadable: a column holds invalid JSON, so the relay splits the batch until it finds the row.
The time ends when every other row is delivered and each bad row has a reason. ms are per delivered row.
"""

import argparse
import statistics
import time
from collections.abc import Callable

from bench.harness import portal, print_ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with portal():
        measure(options.rows, options.rounds)


def measure(count: int, rounds: int) -> None:
    import logging

    from django.db import connection
    from django.test import override_settings

    from finance.models import Account
    from sync.mongodb import client
    from sync.outbox.models import Change
    from sync.outbox.mongo_writer import State
    from sync.outbox.relay import Relay

    logging.getLogger("sync").setLevel(logging.ERROR)  # do not measure printing a line for each bad row
    database = client.database()

    def spoil(products: str, remainder: int, every: int) -> None:
        with connection.cursor() as cursor:
            sql = "UPDATE finance_account SET products = %s WHERE MOD(account_id, %s) = %s"
            cursor.execute(sql, [products, every, remainder])

    def prepare(kind: str) -> int:
        """Changes every row so that it is pending. Returns the number of bad rows."""
        Account.objects.update(products=["x" * 200])
        Account.objects.update(limit=turn)
        Change.objects.all().delete()
        refuses = kind == "unmappable and refused"
        validator = {"account_id": {"$not": {"$mod": [200, 1]}}} if refuses else {}
        database.command("collMod", "accounts", validator=validator)
        if refuses:
            spoil(f"[{2**64}]", 0, 200)
        elif kind == "unreadable":
            spoil("no JSON", 0, 100)
        Account.objects.update(limit=turn)
        return 0 if kind == "clean" else count // 100

    times: dict[str, list[float]] = {"clean": [], "unmappable and refused": [], "unreadable": []}
    timed: Callable[[], float] = time.perf_counter
    with override_settings(SYNC_INLINE=False):
        rows = [Account(account_id=number, limit=0, products=["x" * 200]) for number in range(count)]
        Account.objects.bulk_create(rows, batch_size=500)
        Relay().drain()
        for turn in range(rounds + 1):
            for kind, figures in times.items():
                bad = prepare(kind)
                start = timed()
                counts = Relay().drain()
                took = timed() - start
                assert counts[State.DELIVERED] == count - bad, counts
                assert counts[State.REJECTED] >= bad, counts  # more if a retry was already due
                if turn:
                    figures.append(took / (count - bad) * 1000)
                Change.objects.all().delete()
    print_ratios(f"{count:,} changes, 1% of the rows bad: ms per delivered row", times, ["clean"])
    for kind in ("unmappable and refused", "unreadable"):
        rates = [clean / mine for clean, mine in zip(times["clean"], times[kind], strict=True)]
        print(f"{kind}: the others are delivered at {statistics.median(rates):.2f} of the clean rate")


if __name__ == "__main__":
    main()
