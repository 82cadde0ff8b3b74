"""Measures the cost of each page with the original data and with many times as much. `python -m bench.pages`

Both sizes exist side by side in separate databases on the same servers. One process per size requests the pages, and
the processes take turns, so that other load on the machine affects both. ms: median time on the server, including the
template. ratio: of the medians. least: ratio of the shortest times. queries: SQL queries of one request at both sizes.

Then it measures many concurrent users on gunicorn: the p95 of each dashboard and of a page that does nothing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from bench import asking, crowd, grown
from bench.harness import portal

if TYPE_CHECKING:
    from tests.servers import Servers

LARGE = "analytics_large"
WARM = 3  # requests that are not counted
BOUND = 1.5
DASHBOARDS = {
    "empty page": ("customer", "/healthz"),
    "landing page": ("customer", "/"),
    "customer's dashboard": ("customer", "/dashboard/customer/"),
    "console": ("technical_worker", "/sync/"),
    "management dashboard": ("senior_management", "/dashboard/management/"),
}
console = Console(width=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--factor", type=int, default=100, help="multiple of the data (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=15, help="requests for each page (default: %(default)s)")
    parser.add_argument("--only", default="", help="measure only pages whose name contains this")
    parser.add_argument("--people", type=int, default=grown.CROWD, help="concurrent users, or 0 (default: %(default)s)")
    parser.add_argument("--asks", type=int, default=10, help="requests per user and page (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=30, help="time limit for growing the data")
    parser.add_argument("--totals", action="store_true", help="also compute the totals of the large size (slow)")
    options = parser.parse_args()
    if not 1 < options.factor <= grown.MOST or not 0 <= options.people <= grown.CROWD:
        parser.error(f"--factor must be from 2 to {grown.MOST}, --people from 0 to {grown.CROWD}")
    with tempfile.TemporaryDirectory(prefix="portal-pages-") as folder:
        os.environ |= {"VAR_DIR": folder, "ALLOWED_HOSTS": "testserver,127.0.0.1", "REQUIRE_MFA": "none"}
        with portal() as servers, ExitStack() as stack:
            sizes = prepare(servers, options.factor, 60 * options.minutes)
            portals = {name: stack.enter_context(portal_process(size)) for name, size in sizes.items()}
            print_data(portals, compute=options.totals)
            measure(portals, options.requests, options.only)
            if options.people:
                measure_crowd(portals, sizes, options.people, options.asks)


def prepare(servers: Servers, factor: int, seconds: float) -> dict[str, dict[str, str]]:
    """Creates the data and copies it for at most `seconds`. Returns the settings for each size."""
    from django.core.management import call_command
    from django.db import connection

    began = time.monotonic()
    call_command("collectstatic", interactive=False, verbosity=0)
    grown.make()
    console.print(f"created in {time.monotonic() - began:.0f} s")
    # Cached reports are copied too: their size depends only on the months, symbols, products and tiers.
    console.print(f"1 x: {refresh_times(*asking.refresh())}")
    connection.close()
    began = time.monotonic()
    factor = grown.grow(servers, factor, LARGE, seconds)
    console.print(f"grown {factor} times in {time.monotonic() - began:.0f} s")
    assert servers.mariadb is not None
    return {
        "1 x": {"DATABASE_URL": servers.mariadb.url(), "MONGODB_URI": servers.mongo.uri("analytics_test")},
        f"{factor} x": {"DATABASE_URL": servers.mariadb.url(LARGE), "MONGODB_URI": servers.mongo.uri(LARGE)},
    }


@contextmanager
def portal_process(settings: dict[str, str]) -> Iterator[Any]:
    """Starts a process with these settings. Yields a function that sends it a command and returns the result."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=asking.serve, args=(theirs,), daemon=True)
    before = dict(os.environ)
    os.environ |= settings
    process.start()
    os.environ |= before
    theirs.close()

    def command(name: str, *arguments: Any) -> Any:
        ours.send((name, *arguments))
        return ours.recv()

    try:
        if ours.recv() != "ready":
            raise RuntimeError("The portal's process does not respond.")
        yield command
    finally:
        ours.close()
        process.join()


def print_data(portals: dict[str, Any], *, compute: bool) -> None:
    """Prints the size of the data and the result of verifying a sample."""
    for size, command in portals.items():
        console.print(size, command("sizes"), command("verified", 200))
    if compute:
        console.print(f"{size}: {refresh_times(*command('refresh'))}")


def refresh_times(totals: float, top: float, problem: str) -> str:
    return f"totals computed in {totals:.1f} s, top customers in {top:.1f} s. {problem}"


def measure(portals: dict[str, Any], requests: int, only: str) -> None:
    """Measures every page; the sizes take turns."""
    first, second = portals
    names, _ = [command("pages") for command in portals.values()]
    table = Table("page", f"ms, {first}", f"ms, {second}", "ratio", "least", "queries", title_justify="left")
    slow = 0
    for name in [name for name in names if only in name]:
        timings: dict[str, list[asking.Timing]] = {size: [] for size in portals}
        for number in range(WARM + requests):
            for size, command in portals.items():
                timing = command("fetch", name)
                if number >= WARM:
                    timings[size].append(timing)
        medians = [statistics.median(each.ms for each in timings[size]) for size in portals]
        least = [min(each.ms for each in timings[size]) for size in portals]
        queries = [max(each.queries for each in timings[size]) for size in portals]
        ratio = medians[1] / medians[0]
        slow += ratio > BOUND
        figures = [f"{medians[0]:.1f}", f"{medians[1]:.1f}", f"{ratio:.2f}", f"{least[1] / least[0]:.2f}"]
        table.add_row(name, *figures, " / ".join(map(str, queries)), style="bold" if ratio > BOUND else "")
    console.print(table)
    console.print(f"{slow} of {table.row_count} pages have a ratio above {BOUND}")


def measure_crowd(portals: dict[str, Any], sizes: dict[str, dict[str, str]], people: int, asks: int) -> None:
    """Measures the dashboards and an empty page with `people` concurrent users, one size after the other."""
    columns = [f"{what}, {size}" for size in portals for what in ("median", "p95", "x empty")]
    table = Table(f"ms, {people} concurrent users", *columns)
    cookies = {
        (size, role): command("sessions", role, people) for size, command in portals.items() for role in grown.ROLES
    }
    with ExitStack() as stack:
        ports = {size: stack.enter_context(crowd.web_server(settings)) for size, settings in sizes.items()}
        empty: dict[str, float] = {}
        for name, (role, address) in DASHBOARDS.items():
            times: dict[str, list[float]] = {size: [] for size in portals}
            for _ in range(2):
                for size in portals:
                    times[size] += crowd.times_of(ports[size], address, cookies[size, role], asks)
            cells = []
            for size, all_times in times.items():
                p95 = crowd.quantile(all_times, 0.95)
                empty.setdefault(size, p95)
                cells += [f"{statistics.median(all_times):.0f}", f"{p95:.0f}", f"{p95 / empty[size]:.1f}"]
            table.add_row(name, *cells)
    console.print(table)


if __name__ == "__main__":
    main()
