"""Run fault schedules on servers that this command starts, and stop at the first schedule that fails.

Exit status: 0 if all passed, 1 if one failed (printed with the command that replays it), 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sync.tests.chaos.mutations import MUTATIONS, profile
from sync.tests.chaos.nursery import PR_SET_PDEATHSIG
from sync.tests.chaos.schedule import draw
from tests.lab.network import Network

EVERY = 100  # schedules between two lines of progress


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sync.tests.chaos", description=__doc__)
    parser.add_argument("--schedules", type=int, default=200, help="number of schedules (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="seed of the first schedule; it increases by 1 (default: random)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after this time")
    parser.add_argument(
        "--jobs", type=int, default=2, help="parallel jobs, each with its own servers (default: %(default)s)"
    )
    parser.add_argument("--database", default="mariadb", help="mariadb (started here) or a running mysql://...")
    parser.add_argument(
        "--mutation", choices=MUTATIONS, default="", help="remove this safeguard; a schedule must then fail"
    )
    parser.add_argument("--lab", action="store_true", help="on several hosts whose network is cut; needs root")
    parser.add_argument("--verbose", action="store_true", help="print each schedule and its duration")
    for ours in ("--job", "--tally"):  # passed to the jobs
        parser.add_argument(ours, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.randrange(10**6)
    options.jobs = min(options.jobs, options.schedules)
    if options.lab and (options.database != "mariadb" or options.mutation):
        parser.error("--lab starts a MariaDB of its own, and runs without mutations")
    if options.lab and os.geteuid():
        parser.error("--lab makes network namespaces: run it as root")
    return options


def main() -> int:
    options = parse()
    for number in (signal.SIGINT, signal.SIGTERM):  # exit normally, so that the servers are stopped
        signal.signal(number, lambda *_: sys.exit(143))
    if options.jobs > 1 and options.job is None:
        return run_side_by_side(options)
    with network(options) as found:
        return run_job(options, options.job or 0, found)


@contextmanager
def network(options: argparse.Namespace) -> Iterator[Network | None]:
    """The hosts of a lab, on the first of which this process then is."""
    if not options.lab:
        yield None
        return
    from sync.tests.chaos.lab import DESK, HOSTS  # imports the servers' folder, which only jobs need

    with Network(f"chaos-{os.getpid()}", HOSTS) as hosts:
        hosts.enter(DESK)
        yield hosts


def run_side_by_side(options: argparse.Namespace) -> int:
    """Split the schedules among the jobs, each of which reports its count. If one fails, stop the others."""
    started = time.monotonic()
    jobs = []
    tally, write = os.pipe()
    try:
        for number in range(options.jobs):
            mine = len(range(number, options.schedules, options.jobs))
            command = [sys.executable, "-m", "sync.tests.chaos", *sys.argv[1:], "--seed", str(options.seed)]
            command += ["--schedules", str(mine), "--jobs", str(options.jobs), "--job", str(number)]
            jobs.append(subprocess.Popen([*command, "--tally", str(write)], pass_fds=[write]))
        os.close(write)
        while any(job.poll() is None for job in jobs) and not any(job.poll() for job in jobs):
            time.sleep(0.1)
        failed = [status for job in jobs if (status := job.poll())]
    finally:
        for job in jobs:
            job.terminate()
        for job in jobs:
            job.wait()
    if failed:
        return 1
    with os.fdopen(tally) as counts:
        done = sum(map(int, counts))
    minutes = (time.monotonic() - started) / 60
    print(f"{done:,} schedules from seed {options.seed} passed: {minutes:.1f} minutes, {done / minutes:.0f} per minute")
    return 0


def run_job(options: argparse.Namespace, job: int, network: Network | None) -> int:
    """Run schedules one after the other until one fails."""
    if options.job is not None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    os.environ["TEST_DATABASE"] = options.database
    from sync.tests.chaos.lab import PROFILE
    from sync.tests.chaos.run import run
    from sync.tests.chaos.runner import Runner, Wrong

    started = time.monotonic()
    totals: dict[str, Any] = {"schedules": 0, "committed": 0, "rolled back": 0}
    runner = Runner(options.mutation, network)
    drawn_from = PROFILE if network else profile(options.mutation)
    try:
        for number in range(options.schedules):
            if time.monotonic() - started > options.minutes * 60:
                break
            seed = options.seed + job + number * (options.jobs if options.job is not None else 1)
            schedule = draw(seed, drawn_from)
            begun = time.monotonic()
            try:
                account = run(runner, schedule)
            except Wrong as error:
                print(f"Seed {seed} is wrong, as schedule {seed - options.seed + 1}: {schedule}\n{error}\n"
                      f"{replay(options, seed)}", flush=True)  # fmt: skip
                return 1
            except Exception:
                print(f"The runner failed at seed {seed}: {schedule}\n{replay(options, seed)}", flush=True)
                raise
            if options.verbose:
                print(f"{time.monotonic() - begun:.2f} s: seed {seed}: {schedule}", flush=True)
            totals["schedules"] += 1
            totals["committed"] += account.committed
            totals["rolled back"] += account.rolled_back
            if not totals["schedules"] % EVERY and number + 1 < options.schedules:
                print(summary(totals, started), flush=True)
    finally:
        runner.stop()
    print(summary(totals, started), flush=True)
    if options.tally is not None:
        os.write(options.tally, f"{totals['schedules']}\n".encode())
    return 0


def summary(totals: dict[str, Any], started: float) -> str:
    minutes = (time.monotonic() - started) / 60
    return ", ".join(f"{count:,} {name}" for name, count in totals.items()) + f", {minutes:.1f} minutes"


def replay(options: argparse.Namespace, seed: int) -> str:
    command = f"python -m sync.tests.chaos --schedules 1 --seed {seed}"
    command += f" --database {options.database}" * (options.database != "mariadb")
    command += f" --mutation {options.mutation}" * bool(options.mutation) + " --lab" * options.lab
    return f"Replay (same writes and faults, slightly different timing): {command}"


if __name__ == "__main__":
    sys.exit(main())
