"""Measures verify compared with only reading both databases, in the same run. `python -m bench.verify --rows 100000`

bare reading, as values: reads every row through the ORM and every document through the driver, in the same chunks.
bare reading, as bytes: reads every row with the database driver and every document as undecoded BSON.
"""

import argparse
import datetime
import tracemalloc
from typing import Any

from bench.harness import compare, portal, print_ratios
from sync.mapping import bson_options
from sync.mapping.registry import Target

TRADES = 50  # in a large document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000], help="small documents (0.2 kB)")
    parser.add_argument("--large", type=int, nargs="*", default=[2_000], help="large documents (10 kB)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with portal():
        from finance.models import Account, Transaction

        for model, kind, sizes in ((Account, "small", options.rows), (Transaction, "large", options.large)):
            for rows in sorted(sizes):
                fill(model, rows)
                measure(model, f"{rows:,} {kind} documents", options.rounds)


def fill(model: Any, count: int) -> None:
    """Adds rows up to `count` and delivers them."""
    from sync.outbox.relay import Relay

    moment = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    trade = {
        "date": moment, "amount": 7514, "transaction_code": "buy", "symbol": "amzn",
        "price": "10.7232847234832432484939243", "total": "80574.76142125270768952", "note": "x" * 60,
    }  # fmt: skip
    values: dict[str, Any] = {
        "Account": {"limit": 9000, "products": ["Derivatives", "InvestmentStock"]},
        "Transaction": {
            "transaction_count": TRADES, "bucket_start_date": moment, "bucket_end_date": moment,
            "transactions": [trade] * TRADES,
        },
    }[model.__name__]  # fmt: skip
    for start in range(model.objects.count(), count, 1000):
        numbers = range(start, min(start + 1000, count))
        model.objects.bulk_create([model(account_id=number, **values) for number in numbers])
    Relay().drain()


def measure(model: Any, title: str, rounds: int) -> None:
    from bson.raw_bson import RawBSONDocument
    from django.db import connection

    from sync.mongodb import client
    from sync.verification.scan import CHUNK
    from sync.verification.verify import verify

    documents = client.collection(Target(model))
    raw = documents.with_options(codec_options=bson_options.CODEC_OPTIONS.with_options(document_class=RawBSONDocument))

    def as_values() -> None:
        last = ""
        while chunk := list(model.objects.filter(pk__gt=last).order_by("pk")[:CHUNK]):
            last = chunk[-1].pk
        for _ in documents.find(sort=[("_id", 1)], batch_size=CHUNK):
            pass

    def as_bytes() -> None:
        last = ""
        table = model._meta.db_table
        with connection.cursor() as cursor:
            while True:
                cursor.execute(f"SELECT * FROM {table} WHERE _id > %s ORDER BY _id LIMIT {CHUNK}", [last])  # noqa: S608
                if not (rows := cursor.fetchall()):
                    break
                last = rows[-1][0]
        for _ in raw.find_raw_batches(sort=[("_id", 1)], batch_size=CHUNK):
            pass

    def verified() -> None:
        result = verify(Target(model))
        assert not result.found
        assert not result.pending

    bases = {"bare reading, as values": as_values, "bare reading, as bytes": as_bytes}
    times = compare({**bases, "verify": verified}, rounds, repeat=1)
    print_ratios(title, times, list(bases))
    tracemalloc.start()
    verified()
    print(f"peak memory of verify: {tracemalloc.get_traced_memory()[1] / 1e6:.1f} MB\n")
    tracemalloc.stop()


if __name__ == "__main__":
    main()
