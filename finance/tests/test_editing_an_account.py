"""The form for an account's limit and products."""

import pytest
from bson import ObjectId
from django.urls import reverse

from finance.models import Account
from finance.tests.people import user

pytestmark = pytest.mark.django_db


@pytest.fixture
def account():
    return Account.objects.create(account_id=1, limit=9000, products=["Zinc", "Brokerage"], extra={"note": "x"})


@pytest.fixture
def edit(client, account):
    client.force_login(user("technician"))
    address = reverse("finance:account_edit", args=[account.pk])

    def post(**data):
        version = client.get(address).context["form"].initial["version"]
        return client.post(address, {"version": version, "limit": 5, "products": ["Zinc"]} | data, follow=True)

    return post


def test_it_saves_limit_and_products_and_nothing_else(edit, account):
    response = edit(limit=7, products=["Commodity", "Zinc"])
    account.refresh_from_db()
    assert (account.limit, account.products, account.extra) == (7, ["Zinc", "Commodity"], {"note": "x"})
    assert response.redirect_chain == [(account.get_absolute_url(), 302)]


@pytest.mark.django_db(transaction=True)
def test_it_says_that_mongodb_has_it(mongo, edit, account, settings):
    # `mongo` is first: after a test that has killed MongoDB, the account itself would be left to the relay.
    settings.SYNC_INLINE_TIMEOUT = 10  # a busy machine shall not leave it to the relay
    assert "in MySQL and MongoDB" in edit(limit=7).content.decode()
    assert mongo.accounts.find_one({"_id": ObjectId(account.pk)})["limit"] == 7


@pytest.mark.django_db(transaction=True)
def test_it_says_that_mongodb_gets_it_later(edit, account, mongod):
    mongod.kill()
    assert "The change will be delivered to MongoDB shortly" in edit(limit=7).content.decode()
    account.refresh_from_db()
    assert account.limit == 7


@pytest.mark.parametrize(
    "data",
    [
        {"limit": -1},
        {"limit": 2**31},
        {"limit": "x"},
        {"limit": ""},
        {"limit": "9" * 5000},
        {"products": ["Gold bars"]},
    ],
    ids=str,
)
def test_it_refuses_what_no_account_can_have(edit, account, data):
    response = edit(**data)
    assert response.status_code == 200
    assert response.context["form"].errors
    account.refresh_from_db()
    assert (account.limit, account.products) == (9000, ["Zinc", "Brokerage"])


def test_it_tells_the_second_editor_what_the_first_has_saved(client, edit, account):
    version = client.get(reverse("finance:account_edit", args=[account.pk])).context["form"].initial["version"]
    edit(limit=1, products=["Brokerage"])
    response = edit(version=version, limit=2, products=[])
    assert response.status_code == 409
    assert "Stored now: Limit: 1; Products: Brokerage." in response.content.decode()
    account.refresh_from_db()
    assert account.limit == 1
    # What was shown is known now: saving again is a decision.
    fresh = response.context["form"]["version"].value()
    assert edit(version=fresh, limit=2, products=[]).status_code == 200
    account.refresh_from_db()
    assert account.limit == 2


@pytest.mark.parametrize("version", ["", "x", "é"])
def test_it_trusts_no_version_of_its_own_making(edit, account, version):
    assert edit(version=version).status_code in (200, 409)
    account.refresh_from_db()
    assert account.limit == 9000


def test_it_writes_nothing_when_nothing_is_changed(edit):
    assert "No changes to save" in edit(limit=9000, products=["Brokerage", "Zinc"]).content.decode()


def test_it_is_not_for_those_who_only_look(client, account):
    for kind in ("manager", "customer"):
        client.force_login(user(kind))
        assert client.post(reverse("finance:account_edit", args=[account.pk]), {"limit": 1}).status_code == 403
