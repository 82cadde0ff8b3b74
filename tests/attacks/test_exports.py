"""No spreadsheet reads a cell of an export as a formula, whatever the records contain."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest
from django.core.cache import cache

from audit.models import Entry
from finance.models import Account, Customer, Transaction
from tests.world import World, patterns

pytestmark = pytest.mark.django_db

ROUTES = {route: name for name, route, _pattern in patterns()}
FORMULAS = ("=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1")


def test_no_export_has_a_cell_that_a_spreadsheet_evaluates(made: World, covered: dict[str, set[str]]) -> None:
    exports = [route for route in ROUTES if route.endswith(".csv")]
    assert len(exports) >= 6
    covered["exports"].update(ROUTES[route] for route in exports)
    for formula in FORMULAS:
        Customer.objects.update(name=formula, username=formula, email=formula[:50], address=formula)
        Account.objects.update(products=[formula, formula])
        for bucket in Transaction.objects.all():
            trades = [trade | {"symbol": formula, "transaction_code": formula} for trade in bucket.transactions]
            Transaction.objects.filter(pk=bucket.pk).update(transactions=trades)
        Entry.objects.update(
            who=formula, who_id=formula[:20], model=formula, key=formula, text=formula, after={"a": formula}
        )
        cache.clear()  # it holds the counters of exports
        for route in exports:
            answer: Any = made.clients["superuser"].get(made.addresses()[route])
            text = b"".join(answer.streaming_content).decode()
            for row in csv.reader(io.StringIO(text, newline="")):
                for cell in row:
                    is_number = re.fullmatch(r"-[\d.]+", cell)
                    assert is_number or not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")), (route, cell)
