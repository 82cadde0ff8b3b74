"""Measures the search for customers with 500 customers and with 50,000. `python -m bench.people`

The same server answers the same searches, through the list's page, before and after 49,500 customers join. Their names
are their own, except where a search is said to find a hundred times as many. ms: median time on the server, including
the template. ratio: of the medians.
"""

from __future__ import annotations

import argparse
import datetime
import os
import random
import statistics
import time

from rich.console import Console
from rich.table import Table

from bench.harness import portal

FEW, MANY = 500, 50_000
BORN = datetime.datetime(1980, 1, 1, tzinfo=datetime.UTC)
SYLLABLES = [first + second for first in "bdfghjklmnprstvwz" for second in "aeiou"]
SEARCHES = {
    "a last name": "Hammond",
    "the start of a last name": "ham",
    "a first and a last name": "james ham",
    "a username": "jhammond",
    "an email address": "jhammond@example.com",
    "no such name": "xyzzy",
    "two words, one of no name": "james xyzzy",
    "a last name, sorted by email": "Hammond&sort=email",
    "a letter: 100 x as many": "b",
    "a first name: 100 x as many": "Mary",
    "two common words: 100 x as many": "mary e",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=25, help="requests for each search (default: %(default)s)")
    options = parser.parse_args()
    os.environ |= {"ALLOWED_HOSTS": "testserver", "REQUIRE_MFA": "none", "SYNC_INLINE": "0"}
    with portal():
        add(0, FEW)
        few = measure(options.requests)
        took = add(FEW, MANY)
        many = measure(options.requests)
    table = Table("search", f"ms, {FEW}", f"ms, {MANY:,}", "ratio", title_justify="left")
    for name in SEARCHES:
        table.add_row(name, f"{few[name]:.1f}", f"{many[name]:.1f}", f"{many[name] / few[name]:.2f}")
    console = Console(width=120)
    console.print(table)
    console.print(f"{(MANY - FEW) / took:,.0f} customers with their words written per second")


def add(start: int, end: int) -> float:
    """Creates customers and returns the seconds. The first is James Hammond; one in 50 is a Mary."""
    from django.core.management import call_command
    from django.db import connection

    from finance.models import Customer

    call_command("collectstatic", interactive=False, verbosity=0) if not start else None
    customers = [_customer(Customer, number) for number in range(start, end)]
    began = time.perf_counter()
    for first in range(0, len(customers), 1000):
        Customer.objects.bulk_create(customers[first : first + 1000])
    took = time.perf_counter() - began
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE TABLE finance_customer, finance_customerword")
        cursor.fetchall()
    return took


def _customer(model: type, number: int) -> object:
    if not number:
        first, last = "James", "Hammond"
    else:
        draw = random.Random(number)  # noqa: S311 (made-up data, no secret)
        first, last = ("".join(draw.choices(SYLLABLES, k=length)).title() for length in (3, 4))
        first, last = (
            first.replace("Ham", "Him"),
            last.replace("Ham", "Him"),
        )  # no other is found by the start of Hammond
        if number % 50 == 0:
            first, last = "Mary", f"E{last}"
    username = f"{first[0]}{last}{number or ''}".lower()
    return model(username=username, name=f"{first} {last}", email=f"{username}@example.com", birthdate=BORN)


def measure(requests: int) -> dict[str, float]:
    """The median milliseconds of each search."""
    from django.contrib.auth import get_user_model
    from django.test import Client

    user, _ = get_user_model().objects.get_or_create(username="boss", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(user)
    times = {}
    for name, text in SEARCHES.items():
        all_times = []
        for _ in range(requests + 3):
            began = time.perf_counter()
            response = client.get(f"/finance/customers/?q={text}")
            response.getvalue()
            all_times.append((time.perf_counter() - began) * 1000)
            if response.status_code != 200:
                raise RuntimeError(f"{name}: {response.status_code}")
        times[name] = statistics.median(all_times[3:])
    return times


if __name__ == "__main__":
    main()
