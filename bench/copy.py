"""Measures how fast a collection is copied, compared with plain reads and writes. `python -m bench.copy`

bare: find() and insert_many() in batches of 1,000 with majority writes; documents stay raw bytes, as in our copier.
decoded: the same with decoded documents, as such code is usually written. copy: the first run, into an empty
collection. second full run: nothing differs. one by one: insert_one() in a loop.
"""

import argparse
import time
from typing import Any

from bench.harness import portal, print_ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with portal():
        measure(options.documents, options.rounds)


def measure(count: int, rounds: int) -> None:
    from django.conf import settings
    from faker import Faker

    from examples.retail.making import sales
    from sync.mongodb.change_stream import RAW
    from sync.mongodb.client import database
    from sync.mongodb.uris import parse
    from sync.replication.copier import Copier

    source, destination = database()["sales"], database()["copied"]
    source.insert_many(list(sales(Faker("en_US"), count, seed=1)))
    head, _, options = settings.MONGODB_URI.partition("?")
    addresses = [parse(f"{head}/{name}?{options}") for name in ("sales", "copied")]

    def read_and_write(options: Any) -> None:
        batch: list[Any] = []
        writing = destination.with_options(codec_options=options)
        for one in source.with_options(codec_options=options).find(batch_size=1000):
            batch.append(one)
            if len(batch) == 1000:
                writing.insert_many(batch)
                batch = []
        if batch:
            writing.insert_many(batch)

    def one_by_one() -> None:
        for one in source.find(limit=few):
            destination.insert_one(one)

    def copy() -> None:
        copier = Copier(*addresses, replace=True, full=True)
        list(copier.copy())
        copier.close()

    few = count // 10  # it is slow
    steps = [
        ("bare", destination.drop, lambda: read_and_write(RAW)), ("copy", destination.drop, copy),
        ("second full run", lambda: None, copy), ("decoded", destination.drop, lambda: read_and_write(None)),
        ("one by one", destination.drop, one_by_one),
    ]  # fmt: skip
    times: dict[str, list[float]] = {name: [] for name, _, _ in steps}
    for turn in range(rounds + 1):
        for name, prepare, act in steps:
            prepare()
            start = time.perf_counter()
            act()
            took = time.perf_counter() - start
            copied = destination.count_documents({})
            assert copied == (few if name == "one by one" else count)
            if turn:
                times[name].append(took / copied * 1000)
    print_ratios(f"{count:,} sales: ms per document", times, ["bare"])


if __name__ == "__main__":
    main()
