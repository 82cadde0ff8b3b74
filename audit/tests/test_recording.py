"""An entry records who did what and only the changed values, in the same transaction and without secrets."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group
from django.db import transaction
from django.test import Client, RequestFactory

from accounts.models import Role, User
from accounts.role_requests import decide
from audit.log import LONGEST, Object, record, snapshot
from audit.models import Act, Entry
from finance.models import Account

pytestmark = [pytest.mark.quick, pytest.mark.django_db]


@pytest.fixture
def root(client: Client) -> Client:
    client.force_login(get_user_model().objects.create_superuser("root", "root@example.com", "x"))
    client.post("/reauthenticate/", {"password": "x"})  # the admin requires it before it grants rights
    return client


def user(name: str = "ada", **fields: Any) -> User:
    return User.objects.create_user(name, f"{name}@example.com", "x", **fields)


def latest() -> Entry:
    return Entry.objects.latest("pk")


def test_only_changed_values_are_recorded(rf: RequestFactory) -> None:
    request = rf.get("/", REMOTE_ADDR="10.1.2.3")
    request.user = user()
    record(request, Act.CHANGE, Object("a.b", "k", "t"), {"x": 1, "y": 2}, {"x": 1, "y": 3, "z": None})
    entry = latest()
    assert (entry.who, entry.who_id, entry.address) == ("ada", str(request.user.pk), "10.1.2.3")
    assert (entry.before, entry.after) == ({"y": 2}, {"y": 3})
    record(request, Act.CHANGE, Object("a.b"), {"x": 1}, {"x": 1})
    assert Entry.objects.count() == 1, "an entry was recorded although nothing changed"


def test_commands_and_anonymous_visitors_have_no_name(rf: RequestFactory) -> None:
    record(None, Act.PRUNE, Object("a.b"))
    assert (latest().who, latest().who_id, latest().address) == ("", "", None)
    request = rf.get("/")
    request.user = AnonymousUser()
    record(request, "retry", Object("a.b"))
    assert (latest().who, latest().who_id) == ("", "")


def test_long_values_are_shortened_visibly() -> None:
    record(None, Act.CHANGE, Object("a.b"), {"x": "a" * 20_000}, {"x": ["b"] * 20_000})
    assert latest().before == {"x": "a" * LONGEST + "…"}
    assert latest().after["x"].endswith("…")


def test_an_entry_is_rolled_back_with_its_transaction() -> None:
    with transaction.atomic():
        record(None, Act.PRUNE, Object("a.b"))
        transaction.set_rollback(True)
    assert not Entry.objects.exists()


def test_changes_of_roles_and_groups_in_the_admin_are_recorded(root: Client) -> None:
    ada, group = user(role=Role.CUSTOMER), Group.objects.create(name="g")
    form = {
        "username": "ada", "email": ada.email, "first_name": "", "last_name": "", "address": "",
        "role": "senior_management", "is_active": "on", "groups": [group.pk],
        "date_joined_0": "2020-01-01", "date_joined_1": "00:00:00",
    }  # fmt: skip
    assert root.post(f"/admin/accounts/user/{ada.pk}/change/", form).status_code == 302
    entry = latest()
    assert (entry.who, entry.act, entry.model, entry.key) == ("root", "change", "accounts.user", str(ada.pk))
    assert entry.before == {"role": "customer", "groups": []}
    assert entry.after == {"role": "senior_management", "groups": [str(group.pk)]}


def test_a_password_change_in_the_admin_is_recorded_without_the_password(root: Client) -> None:
    ada = user()
    form = {"password1": "correct-horse-8", "password2": "correct-horse-8", "usable_password": "true"}
    assert root.post(f"/admin/accounts/user/{ada.pk}/password/", form).status_code == 302
    assert (latest().before, latest().after) == ({"password": "***"}, {"password": "***"})


def test_users_created_and_deleted_in_the_admin_are_recorded(root: Client) -> None:
    form = {
        "username": "eve", "email": "eve@example.com", "role": "customer", "usable_password": "true",
        "password1": "correct-horse-8", "password2": "correct-horse-8",
    }  # fmt: skip
    assert root.post("/admin/accounts/user/add/", form).status_code == 302
    assert (latest().act, latest().after["username"], latest().after["password"]) == ("create", "eve", "***")
    eve = User.objects.get(username="eve")
    chosen = {"action": "delete_selected", "_selected_action": [eve.pk], "post": "yes"}
    assert root.post("/admin/accounts/user/", chosen).status_code == 302
    assert (latest().act, latest().text, latest().before["role"]) == ("delete", "eve", "customer")


def test_a_decision_on_a_role_request_is_recorded_once(root: Client) -> None:
    ada = user(role=Role.CUSTOMER, requested_role=Role.SENIOR_MANAGEMENT)
    root.post("/admin/accounts/user/", {"action": "approve_requests", "_selected_action": [ada.pk]})
    [entry] = Entry.objects.all()
    assert (entry.who, entry.act, entry.text) == ("root", "approve", "ada")
    assert entry.after == {"role": "senior_management", "request_decision": "approved"}
    assert not decide(ada, "declined")  # type: ignore[arg-type]
    assert Entry.objects.count() == 1


def test_edits_in_the_portal_and_in_the_admin_are_recorded(root: Client) -> None:
    account = Account.objects.create(account_id=1, limit=10, products=["Brokerage"])
    page = f"/finance/accounts/{account.pk}/edit/"
    version = root.get(page).context["form"]["version"].value()
    root.post(page, {"limit": 20, "products": ["Brokerage"], "version": version})
    assert (latest().who, latest().model, latest().key) == ("root", "finance.account", account.pk)
    assert (latest().before, latest().after) == ({"limit": 10}, {"limit": 20})
    form = {"account_id": 1, "limit": 30, "products": '["Brokerage", "Commodity"]'}
    assert root.post(f"/admin/finance/account/{account.pk}/change/", form).status_code == 302
    assert latest().after == {"limit": 30, "products": ["Brokerage", "Commodity"]}
    root.post(f"/admin/finance/account/{account.pk}/delete/", {"post": "yes"})
    assert (latest().act, latest().before["limit"]) == ("delete", 30)


def test_a_form_without_changes_or_with_errors_records_nothing(root: Client) -> None:
    account = Account.objects.create(account_id=1, limit=10)
    page = f"/finance/accounts/{account.pk}/edit/"
    version = root.get(page).context["form"]["version"].value()
    root.post(page, {"limit": 10, "version": version})
    root.post(page, {"limit": -1, "version": version})
    assert not Entry.objects.exists()


def test_a_snapshot_contains_only_loaded_columns() -> None:
    account = Account.objects.create(account_id=1, limit=10, products=["Brokerage"])
    assert snapshot(account) == {
        "id": account.pk, "extra": {}, "account_id": 1, "limit": 10, "products": ["Brokerage"],
    }  # fmt: skip
    assert "limit" not in snapshot(Account.objects.defer("limit").get())
