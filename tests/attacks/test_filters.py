"""Hostile values and names in the filters of every list, chart and export."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.utils.http import urlencode

from finance.record_types import RECORD_TYPES
from tests.world import World, patterns

pytestmark = pytest.mark.django_db

ROUTES = {route: name for name, route, _pattern in patterns()}
PARAMETERS = (
    "q", "since", "until", "account", "symbol", "product", "tier", "find", "customer", "side",
    "code", "only", "first", "last", "page",
    "per_page", "sort", "after", "before", "who", "act", "model", "key", "below", "reason", "age", "show", "year",
    "o", "p", "e",
    *(name for kind in RECORD_TYPES for name in kind.filters.base_filters),
)  # fmt: skip
SEARCHED = re.compile(
    r"_(list|export|dashboard|detail|trades|chart|changelist)$|^(sync|audit|retail):(?!order|stop|act|route_act|test_alert)"
    r"|^(people|person)$"
)
NEVER_THEIRS = {
    kind.pages[page] for kind in RECORD_TYPES if not kind.own for page in ("list", "export", "detail")
}  # customers have no records of these types
HOSTILE = [
    '{"$ne": null}', '{"$where": "sleep(5000)"}', "$where", "' OR '1'='1", "1; DROP TABLE accounts_user", "\0", "%",
    "-1", "9" * 400, "NaN", "1e309", "../../etc/passwd", "<script>alert(1)</script>", "{{ 7 * 7 }}", "\ud7ff\U0001f600",
]  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: value[:12])
def test_hostile_filter_values_can_only_search(
    made: World, mongo: Any, covered: dict[str, set[str]], value: str
) -> None:
    """MongoDB operators, SQL, markup and nonsense in every parameter, and operators in the parameters' names."""
    query = urlencode(dict.fromkeys(PARAMETERS, value) | {f"{name}[$ne]": value for name in PARAMETERS})
    for route, address in made.addresses().items():
        if not SEARCHED.search(ROUTES[route]):
            continue
        covered["filters"].update(f"{route} {name}" for name in PARAMETERS)
        for who in ("customer", "superuser") if ROUTES[route].startswith("finance:") else ("superuser",):
            answer: Any = made.clients[who].get(address + "?" + query)
            body = b"".join(answer.streaming_content) if answer.streaming else answer.content
            is_theirs = who == "superuser" or ROUTES[route] not in NEVER_THEIRS
            assert answer.status_code in ((200, 302, 400, 403) if is_theirs else (404,)), (route, who)
            assert b"<script>alert(1)" not in body, (route, who)
            if who == "customer":
                assert b"Other" not in body, (route, "another customer's record")


def test_unknown_parameters_have_no_effect(made: World) -> None:
    """An operator or ORM lookup in a parameter's name changes nothing: the search finds what it finds without it."""
    customer = made.clients["customer"]
    for kind in RECORD_TYPES:
        if not kind.own:
            continue  # customers have no records of this type
        address = made.address(kind.pages["list"])
        records = [row.pk for row in customer.get(address).context["page"].records]
        for field in ("user__password__startswith", "account_id[$ne]", "$where", "user_id", "or", "id__in"):
            found = customer.get(address, {field: "1"}).context["page"].records
            assert [row.pk for row in found] == records != [], (kind.name, field)
