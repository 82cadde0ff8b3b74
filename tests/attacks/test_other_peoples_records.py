"""A customer who knows every ID and number of another customer sees nothing of theirs at any address."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client

from accounts.models import User
from audit.models import Act, Entry
from finance.models import Account, Customer, Transaction
from finance.record_types import RECORD_TYPES
from tests.world import World, patterns

pytestmark = pytest.mark.django_db

CANARY = "zq9canary"


@pytest.fixture
def planted(made: World) -> World:
    """The world, with the canary in every text of the other customer's records, user and audit log."""
    other = User.objects.create_user(f"{CANARY}-user", f"{CANARY}@example.com", first_name=CANARY, address=CANARY)
    Customer.objects.filter(pk=made.others["customer"].pk).update(
        user=other, name=f"{CANARY} name", username=f"{CANARY}-login", email=f"{CANARY}@example.com", address=CANARY,
        tier_and_details={CANARY: {"tier": CANARY, "id": CANARY, "active": True, "benefits": [CANARY]}},
        extra={CANARY: CANARY},
    )  # fmt: skip
    Account.objects.filter(pk=made.others["account"].pk).update(products=[CANARY], extra={"note": CANARY})
    bucket = Transaction.objects.get(pk=made.others["transaction"].pk)
    trades = [trade | {"symbol": CANARY, "transaction_code": CANARY} for trade in bucket.transactions]
    Transaction.objects.filter(pk=bucket.pk).update(transactions=trades, extra={"note": CANARY})
    Entry.objects.create(who=f"{CANARY}-user", act=Act.CHANGE, model="finance.customer", key=CANARY, text=CANARY)
    return made


def text_of(answer: Any) -> str:
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return f"{answer.headers}{content.decode(errors='replace')}"


def ids_of(made: World) -> list[str]:
    rows = made.others.values()
    return [str(row.pk) for row in rows] + [str(row.account_id) for row in rows if hasattr(row, "account_id")]


def guesses(made: World) -> list[str]:
    """Queries that name the other customer's records in every parameter that a page may have."""
    names = ("q", "number", "account", "account_id", "customer", "user", "id", "pk", "key", "symbol", "only", "of")
    return [urlencode(dict.fromkeys(names, value)) for value in ids_of(made)]


@pytest.mark.parametrize("who", ["nobody", "customer", "staff"])
def test_no_address_shows_another_customers_record(planted: World, covered: dict[str, set[str]], who: str) -> None:
    """Staff here have no permissions."""
    client = Client() if who == "nobody" else planted.clients[who]
    covered["roles"].add(who)
    addresses = planted.addresses()
    for name, route, _pattern in patterns():
        if "logout" in route:
            continue
        covered["addresses"].add(route)
        own = addresses[route]
        theirs = own
        for kind in planted.own:
            theirs = theirs.replace(str(planted.own[kind].pk), str(planted.others[kind].pk))
        asked = [own, theirs, *(f"{own}?{query}" for query in guesses(planted)[:: 1 if "finance" in name else 4])]
        for address in dict.fromkeys(asked):
            answer = client.get(address)
            body = text_of(answer)
            for query in guesses(planted):  # a page may repeat the query, which is not a record
                body = body.replace(query, "")
            assert CANARY not in body, (who, address)
            if name.endswith("export") or route.endswith(".csv"):
                covered["exports"].add(name)


def test_no_request_changes_another_customers_record(planted: World, covered: dict[str, set[str]]) -> None:
    before = rows_of(planted)
    client = planted.clients["customer"]
    addresses = planted.addresses()
    for _name, route, _pattern in patterns():
        if "logout" in route:
            continue
        theirs = addresses[route]
        for kind in planted.own:
            theirs = theirs.replace(str(planted.own[kind].pk), str(planted.others[kind].pk))
        sent = {
            "name": "x", "limit": "1", "version": "1", "id": ids_of(planted)[0], "accounts": "3", "post": "yes",
            "user": planted.people["customer"].pk, "confirm": "on",
        }  # fmt: skip
        client.post(theirs, sent)
        covered["addresses"].add(route)
    assert rows_of(planted) == before


def rows_of(made: World) -> list[dict[str, Any]]:
    return [row for kind in RECORD_TYPES for row in kind.model.objects.order_by("pk").values()]


def test_another_customers_record_would_be_detected(planted: World) -> None:
    found = [
        address
        for address in planted.addresses().values()
        if "logout" not in address and CANARY in text_of(planted.clients["technical_worker"].get(address))
    ]
    assert len(found) >= 4  # lists and exports for a role that sees all records
