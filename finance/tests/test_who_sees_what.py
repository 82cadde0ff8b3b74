"""Every page for every kind of user: who can open it, who is refused and who gets a 404."""

import datetime

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.urls import reverse

from finance import report_cache
from finance.models import Account, CachedReport, Transaction
from finance.record_types import RECORD_TYPES
from finance.tests.people import DAY, KINDS, customer, user
from finance.urls import urlpatterns

pytestmark = [pytest.mark.quick, pytest.mark.django_db]

#                       customer, theirs | another's | technician | manager | nobody
TABLE: dict[str, tuple[int | None, ...]] = {
    "customer_dashboard": (200, None, 403, 403, 403),
    "totals_dashboard": (403, None, 403, 200, 403),
    "totals_chart": (403, None, 403, 200, 403),
    "totals_trades": (403, None, 403, 200, 403),
    "totals_trades_export": (403, None, 403, 200, 403),
    "own_trades": (200, None, 403, 403, 403),
    "customer_trades": (200, 404, 200, 200, 403),
    "customer_chart": (200, 404, 200, 200, 403),
}
# For each record type. Customers have lists of some, and for them the pages of the others do not exist.
OF_A_TYPE = {
    "list": (200, None, 200, 200, 403),
    "export": (200, None, 200, 200, 403),
    "create": (403, None, 200, 403, 403),
    "edit": (403, 403, 200, 403, 403),
    "delete": (403, 403, 200, 403, 403),
    "detail": (200, 404, 200, 200, 403),
}
MODELS = {kind.name: kind.model for kind in RECORD_TYPES if kind.own}
STAFFS = {kind.name: kind.model for kind in RECORD_TYPES if not kind.own}
TABLE |= {f"{name}_{page}": statuses for name in MODELS for page, statuses in OF_A_TYPE.items()}
TABLE |= {
    f"{name}_{page}": (404, others and 404, *staff) if own == 200 else (own, others, *staff)
    for name in STAFFS
    for page, (own, others, *staff) in OF_A_TYPE.items()
}
POSTED = {"save_view", "remove_view"}  # test_saved_views.py
CHARTS = {"totals_chart": ["value"], "customer_chart": ["value"]}


NOTHING = {"customers": 0, "accounts": 0, "buckets": 0} | dict.fromkeys(
    ("symbols", "products", "tiers", "held", "tiered"), ()
)
LATER = datetime.datetime(2999, 1, 1, tzinfo=datetime.UTC)


def test_the_table_names_every_page():
    assert set(TABLE) | POSTED == {pattern.name for pattern in urlpatterns}


@pytest.mark.parametrize("name", TABLE)
def test_each_page_responds_as_the_table_says(client, name, monkeypatch):
    monkeypatch.setattr(report_cache, "PING", 0.05)  # without servers, each page of totals would wait that long
    CachedReport.objects.create(key=report_cache.TOTALS, data=NOTHING, as_of=DAY, due_at=LATER, asked_at=DAY)
    people = {kind: user(kind) for kind in KINDS}
    customer("Own", [1, 2], linked=people["customer"])
    customer("Other", [3])
    theirs, others = [], []
    rest = CHARTS.get(name, [])
    if name.endswith(("_detail", "_edit", "_delete")) or name in ("customer_trades", "customer_chart"):
        model = (MODELS | STAFFS)[name.split("_")[0]]
        own = model.objects.visible_to(people["customer"])
        theirs, others = [own.first().pk], [model.objects.exclude(pk__in=own.values("pk")).first().pk]
    own_status, others_status, *staff = TABLE[name]
    assert client.get(reverse(f"finance:{name}", args=[*theirs, *rest])).status_code == 302
    client.force_login(people["customer"])
    assert client.get(reverse(f"finance:{name}", args=[*theirs, *rest])).status_code == own_status
    if others_status:
        assert client.get(reverse(f"finance:{name}", args=[*others, *rest])).status_code == others_status
    for kind, status in zip(("technician", "manager", "nobody"), staff, strict=True):
        client.force_login(people[kind])
        assert client.get(reverse(f"finance:{name}", args=[*theirs, *rest])).status_code == status, kind


@pytest.mark.parametrize("name", ["own_trades", *(f"{name}_list" for name in MODELS)])
def test_lists_show_customers_only_their_own_records(client, name):
    owner = user("customer")
    customer("Ownwoman", [11111], linked=owner)
    customer("Otherman", [22222])
    client.force_login(owner)
    text = client.get(reverse(f"finance:{name}")).content.decode()
    assert "Ownwoman" in text or "11111" in text
    assert "Otherman" not in text
    assert "22222" not in text


def test_a_missing_record_looks_like_another_customers_record(client):
    client.force_login(user("customer"))
    assert client.get(reverse("finance:account_detail", args=["0" * 24])).status_code == 404


def test_visible_records_depend_only_on_the_link():
    """A matching name or email address does not make a user the customer."""
    someone = user("customer", "anna")
    customer("anna", [1])
    for model in MODELS.values():
        assert not model.objects.visible_to(someone).exists()
        assert not model.objects.visible_to(AnonymousUser()).exists()


def test_visibility_queries_the_customer_once(django_assert_num_queries):
    customer("Own", [1], linked=user("customer"))
    owner = get_user_model().objects.get()
    assert not owner.has_perm("finance.view_all")  # caches the permissions
    with django_assert_num_queries(3):
        assert len(Account.objects.visible_to(owner)) == len(Transaction.objects.visible_to(owner)) == 1
