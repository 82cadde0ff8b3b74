"""What each page costs, with the data at its own size and many times as much. `python -m bench.pages`

Both sizes are there at once, in databases of their own on the same servers, and a process for each asks its portal for
a page in turn, so that whatever else the machine does meets both. ms: the middle of the server's times, template and
all. ratio: of the middles; least: of the shortest times. queries: of SQL, for one request, at both sizes.

Then many people at once: the 95th percentile of each dashboard, and of a page that does nothing, on gunicorn.
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
    parser.add_argument("--factor", type=int, default=100, help="how many times the data (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=15, help="for each page (default: %(default)s)")
    parser.add_argument("--only", default="", help="pages whose names have this")
    parser.add_argument("--people", type=int, default=grown.CROWD, help="at once; 0 for none (default: %(default)s)")
    parser.add_argument("--asks", type=int, default=10, help="of each of them, and each page (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=30, help="to grow the data; fewer times if that takes longer")
    parser.add_argument("--totals", action="store_true", help="compute the totals of the large size too: minutes")
    options = parser.parse_args()
    if not 1 < options.factor <= grown.MOST or not 0 <= options.people <= grown.CROWD:
        parser.error(f"--factor goes from 2 to {grown.MOST}, --people to {grown.CROWD}")
    with tempfile.TemporaryDirectory(prefix="portal-pages-") as folder:
        os.environ |= {"VAR_DIR": folder, "ALLOWED_HOSTS": "testserver,127.0.0.1", "REQUIRE_MFA": "none"}
        with portal() as servers, ExitStack() as stack:
            sizes = prepare(servers, options.factor, 60 * options.minutes)
            asked = {name: stack.enter_context(asking_process(size)) for name, size in sizes.items()}
            tell_of_data(asked, compute=options.totals)
            measure(asked, options.requests, options.only)
            if options.people:
                measure_crowd(asked, sizes, options.people, options.asks)


def prepare(servers: Servers, factor: int, seconds: float) -> dict[str, dict[str, str]]:
    """Makes the data, and copies them for so many seconds at most; the settings for each size."""
    from django.core.management import call_command
    from django.db import connection

    began = time.monotonic()
    call_command("collectstatic", interactive=False, verbosity=0)
    grown.make()
    console.print(f"made in {time.monotonic() - began:.0f} s")
    # They are copied too: how large they are depends on the months, symbols, products and tiers alone.
    console.print(f"1 x: {figures_in_words(*asking.refresh())}")
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
def asking_process(settings: dict[str, str]) -> Iterator[Any]:
    """A function that gives orders to a process with these settings, and returns the answers."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=asking.serve, args=(theirs,), daemon=True)
    before = dict(os.environ)
    os.environ |= settings
    process.start()
    os.environ |= before
    theirs.close()

    def order(name: str, *arguments: Any) -> Any:
        ours.send((name, *arguments))
        return ours.recv()

    try:
        if ours.recv() != "ready":
            raise RuntimeError("It does not respond.")
        yield order
    finally:
        ours.close()
        process.join()


def tell_of_data(asked: dict[str, Any], *, compute: bool) -> None:
    """How much there is, and that a sample of it is equal on both sides."""
    for size, order in asked.items():
        console.print(size, order("sizes"), order("verified", 200))
    if compute:
        console.print(f"{size}: {figures_in_words(*order('refresh'))}")


def figures_in_words(totals: float, top: float, trouble: str) -> str:
    return f"totals computed in {totals:.1f} s, top customers in {top:.1f} s. {trouble}"


def measure(asked: dict[str, Any], requests: int, only: str) -> None:
    """Every page at every size in turn."""
    first, second = asked
    names, _ = [order("pages") for order in asked.values()]
    table = Table("page", f"ms, {first}", f"ms, {second}", "ratio", "least", "queries", title_justify="left")
    slow = 0
    for name in [name for name in names if only in name]:
        answers: dict[str, list[asking.Asked]] = {size: [] for size in asked}
        for number in range(WARM + requests):
            for size, order in asked.items():
                answer = order("ask", name)
                if number >= WARM:
                    answers[size].append(answer)
        middles = [statistics.median(each.ms for each in answers[size]) for size in asked]
        least = [min(each.ms for each in answers[size]) for size in asked]
        queries = [max(each.queries for each in answers[size]) for size in asked]
        ratio = middles[1] / middles[0]
        slow += ratio > BOUND
        figures = [f"{middles[0]:.1f}", f"{middles[1]:.1f}", f"{ratio:.2f}", f"{least[1] / least[0]:.2f}"]
        table.add_row(name, *figures, " / ".join(map(str, queries)), style="bold" if ratio > BOUND else "")
    console.print(table)
    console.print(f"{slow} of {table.row_count} pages above {BOUND}")


def measure_crowd(asked: dict[str, Any], sizes: dict[str, dict[str, str]], people: int, asks: int) -> None:
    """The dashboards and an empty page, each asked for by so many people at once, at one size after the other."""
    columns = [f"{what}, {size}" for size in asked for what in ("middle", "p95", "x empty")]
    table = Table(f"ms, {people} at once", *columns)
    cookies = {(size, role): order("sessions", role, people) for size, order in asked.items() for role in grown.ROLES}
    with ExitStack() as stack:
        ports = {size: stack.enter_context(crowd.web_server(settings)) for size, settings in sizes.items()}
        empty: dict[str, float] = {}
        for name, (role, address) in DASHBOARDS.items():
            times: dict[str, list[float]] = {size: [] for size in asked}
            for _ in range(2):
                for size in asked:
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
