"""Run schedules on a Galera cluster that this command starts. Django saves rows on three nodes with inline delivery, a
relay runs on each node, and nodes lag. After each schedule, plain SQL and a plain MongoDB client compare all databases.

Every fourth schedule is forced: a delivery is held back until its node lags behind a newer row that another node has
delivered. Requires Debian's galera-4 and mariadb-server-core.

Exit status: 0 if all schedules passed, 1 if any failed, 2 for wrong arguments or if Galera is not installed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time

from sync.tests.clusters.schedule import draw
from tests.galera import library
from tests.lab.network import Network


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sync.tests.clusters", description=__doc__)
    parser.add_argument("--schedules", type=int, default=20, help="number of schedules (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="seed of the first schedule; it increases by 1 (default: random)")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="stop after this time and print the next seed"
    )
    parser.add_argument(
        "--without-cure", action="store_true", help="let deliveries read outdated rows (no causal reads)"
    )
    parser.add_argument(
        "--lab", action="store_true", help="nodes on hosts of their own are cut off, killed and leave; needs root"
    )
    parser.add_argument("--verbose", action="store_true", help="print each schedule and its duration")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.randrange(10**6)
    if not library():
        parser.error("Galera is not installed: apt-get install galera-4")
    if options.lab and os.geteuid():
        parser.error("--lab makes network namespaces: run it as root")
    return options


def main() -> int:
    options = parse()
    if not options.lab:
        return run(options, None)
    from sync.tests.clusters.runner import ALL_HOSTS, DESK

    with Network(f"clusters-{os.getpid()}", ALL_HOSTS) as network:
        network.enter(DESK)
        return run(options, network)


def run(options: argparse.Namespace, network: Network | None) -> int:
    for number in (signal.SIGINT, signal.SIGTERM):  # exit normally, so that the servers are stopped
        signal.signal(number, lambda *_: sys.exit(143))
    os.environ["TEST_DATABASE"] = "mariadb"
    from sync.tests.clusters.runner import Runner

    runner = Runner(causal=not options.without_cure, network=network)
    started = time.monotonic()
    done = wrong = keys = 0
    try:
        for seed in range(options.seed, options.seed + options.schedules):
            if time.monotonic() - started > options.minutes * 60:
                break
            schedule, begun = draw(seed, cut=options.lab), time.monotonic()
            try:
                problems = runner.run(schedule)
            except Exception:
                print(f"The runner failed at seed {seed}: {schedule}", flush=True)
                raise
            done, keys = done + 1, keys + len(schedule.keys)
            if options.verbose:
                print(f"{time.monotonic() - begun:.2f} s: seed {seed}: {schedule}", flush=True)
            if problems:
                wrong += 1
                print(f"Seed {seed} is wrong: {schedule}", flush=True)
                for key, lines in problems.items():
                    print("\n".join(f"  {key}: {line}" for line in lines), flush=True)
    finally:
        runner.stop()
    minutes = (time.monotonic() - started) / 60
    print(f"{done:,} schedules from seed {options.seed}, {keys:,} keys: {wrong:,} wrong, {minutes:.1f} minutes. "
          f"To continue: --seed {options.seed + done}")  # fmt: skip
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
