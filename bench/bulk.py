"""Measures bulk_create of 5,000 rows: plain, ours (which records the changes), and ours including delivery to MongoDB.

`python -m bench.bulk`
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

from bench.harness import plain_model, portal, print_ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with portal():
        measure(options.rows, options.rounds)


def measure(count: int, rounds: int) -> None:
    from finance.models import Account
    from sync.outbox.relay import Relay

    Plain = plain_model()

    def rows(model: Any) -> list[Any]:
        return [model(account_id=number, limit=9000, products=["Derivatives"]) for number in range(count)]

    def delivered(objects: list[Any]) -> None:
        Account.objects.bulk_create(objects)
        Relay().drain()

    steps: list[tuple[str, Any, Callable[[list[Any]], Any]]] = [
        ("plain", Plain, Plain.objects.bulk_create),
        ("ours", Account, Account.objects.bulk_create),
        ("ours, until delivered", Account, delivered),
    ]
    times: dict[str, list[float]] = {name: [] for name, *_ in steps}
    for number in range(rounds + 1):
        for name, model, act in steps:
            objects = rows(model)
            start = time.perf_counter()
            act(objects)
            if number:
                times[name].append((time.perf_counter() - start) * 1000)
            Relay().drain()
    print_ratios(f"bulk_create of {count:,} rows", times, ["plain"])


if __name__ == "__main__":
    main()
