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


def test_the_form_saves_only_limit_and_products(edit, account):
    response = edit(limit=7, products=["Commodity", "Zinc"])
    account.refresh_from_db()
    assert (account.limit, account.products, account.extra) == (7, ["Zinc", "Commodity"], {"note": "x"})
    assert response.redirect_chain == [(account.get_absolute_url(), 302)]


@pytest.mark.django_db(transaction=True)
def test_it_reports_that_mongodb_has_the_change(mongo, edit, account, settings):
    # Request `mongo` first: after a test that killed MongoDB, the new account would otherwise be left to the relay.
    settings.SYNC_INLINE_TIMEOUT = 10  # do not leave the change to the relay on a busy machine
    assert "in MySQL and MongoDB" in edit(limit=7).content.decode()
    assert mongo.accounts.find_one({"_id": ObjectId(account.pk)})["limit"] == 7


@pytest.mark.django_db(transaction=True)
def test_it_reports_that_mongodb_will_get_the_change_later(edit, account, mongod):
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
def test_it_rejects_invalid_values(edit, account, data):
    response = edit(**data)
    assert response.status_code == 200
    assert response.context["form"].errors
    account.refresh_from_db()
    assert (account.limit, account.products) == (9000, ["Zinc", "Brokerage"])


def test_the_second_editor_sees_what_the_first_saved(client, edit, account):
    version = client.get(reverse("finance:account_edit", args=[account.pk])).context["form"].initial["version"]
    edit(limit=1, products=["Brokerage"])
    response = edit(version=version, limit=2, products=[])
    assert response.status_code == 409
    assert "Stored now: Limit: 1; Products: Brokerage." in response.content.decode()
    account.refresh_from_db()
    assert account.limit == 1
    # The editor has now seen the stored values, so saving again overwrites them knowingly.
    fresh = response.context["form"]["version"].value()
    assert edit(version=fresh, limit=2, products=[]).status_code == 200
    account.refresh_from_db()
    assert account.limit == 2


@pytest.mark.parametrize("version", ["", "x", "é"])
def test_a_forged_version_is_not_accepted(edit, account, version):
    assert edit(version=version).status_code in (200, 409)
    account.refresh_from_db()
    assert account.limit == 9000


def test_an_unchanged_form_is_not_saved(edit):
    assert "No changes to save" in edit(limit=9000, products=["Brokerage", "Zinc"]).content.decode()


def test_users_without_edit_permission_are_refused(client, account):
    for kind in ("manager", "customer"):
        client.force_login(user(kind))
        assert client.post(reverse("finance:account_edit", args=[account.pk]), {"limit": 1}).status_code == 403
