"""Users of each kind and a few records, for the tests of the pages.

Users get their permissions directly, because this app does not depend on the accounts app.
"""

import datetime
from typing import Any

from bson import Decimal128
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission

from finance.models import Account, Customer, Transaction

KINDS = {
    "customer": ["view_own"],
    "technician": ["view_all", "edit_records"],
    "manager": ["view_all", "view_totals"],
    "nobody": [],
}
DAY = datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC)


def user(kind: str, name: str = "") -> Any:
    name = name or kind
    made = get_user_model().objects.create_user(name, f"{name}@example.com", "secret")
    made.user_permissions.set(Permission.objects.filter(content_type__app_label="finance", codename__in=KINDS[kind]))
    return made


def customer(name: str, numbers: list[int], linked: Any = None) -> Customer:
    """A customer with an account and a bucket of two trades for each number."""
    for number in numbers:
        Account.objects.create(account_id=number, limit=9000, products=["Brokerage"])
        Transaction.objects.create(
            account_id=number, transaction_count=2, bucket_start_date=DAY, bucket_end_date=DAY + datetime.timedelta(1),
            transactions=[trade("adbe", DAY, "10.5"), trade("tsla", DAY + datetime.timedelta(1), "3.25")],
        )  # fmt: skip
    return Customer.objects.create(
        username=name.lower(), name=name, address="1 Road", email=f"{name.lower()}@example.com", birthdate=DAY,
        accounts=numbers, user=linked,
        tier_and_details={"x": {"tier": "Gold", "id": "x", "active": True, "benefits": ["sports tickets"]}},
    )  # fmt: skip


def trade(symbol: str, date: datetime.datetime, price: Any) -> dict[str, Any]:
    total = price if isinstance(price, Decimal128) else str(2 * float(price))
    return {
        "date": date, "amount": 2, "transaction_code": "buy", "symbol": symbol, "price": price, "total": total,
    }  # fmt: skip
