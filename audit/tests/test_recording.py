"""What is kept of an act: who, what, and only what it changed; in the transaction of the act; no secrets."""

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
    client.post("/reauthenticate/", {"password": "x"})  # without it the admin gives nobody power
    return client


def user(name: str = "ada", **fields: Any) -> User:
    return User.objects.create_user(name, f"{name}@example.com", "x", **fields)


def kept() -> Entry:
    return Entry.objects.latest("pk")


def test_it_keeps_only_what_differs(rf: RequestFactory) -> None:
    request = rf.get("/", REMOTE_ADDR="10.1.2.3")
    request.user = user()
    record(request, Act.CHANGE, Object("a.b", "k", "t"), {"x": 1, "y": 2}, {"x": 1, "y": 3, "z": None})
    entry = kept()
    assert (entry.who, entry.who_id, entry.address) == ("ada", str(request.user.pk), "10.1.2.3")
    assert (entry.before, entry.after) == ({"y": 2}, {"y": 3})
    record(request, Act.CHANGE, Object("a.b"), {"x": 1}, {"x": 1})
    assert Entry.objects.count() == 1, "nothing was changed"


def test_a_command_has_no_name_and_nobody_has_no_key(rf: RequestFactory) -> None:
    record(None, Act.PRUNE, Object("a.b"))
    assert (kept().who, kept().who_id, kept().address) == ("", "", None)
    request = rf.get("/")
    request.user = AnonymousUser()
    record(request, "retry", Object("a.b"))
    assert (kept().who, kept().who_id) == ("", "")


def test_what_is_long_is_shortened_and_says_so() -> None:
    record(None, Act.CHANGE, Object("a.b"), {"x": "a" * 20_000}, {"x": ["b"] * 20_000})
    assert kept().before == {"x": "a" * LONGEST + "…"}
    assert kept().after["x"].endswith("…")


def test_it_goes_with_the_transaction() -> None:
    with transaction.atomic():
        record(None, Act.PRUNE, Object("a.b"))
        transaction.set_rollback(True)
    assert not Entry.objects.exists()


def test_the_admin_keeps_roles_and_rights(root: Client) -> None:
    ada, group = user(role=Role.CUSTOMER), Group.objects.create(name="g")
    form = {
        "username": "ada", "email": ada.email, "first_name": "", "last_name": "", "address": "",
        "role": "senior_management", "is_active": "on", "groups": [group.pk],
        "date_joined_0": "2020-01-01", "date_joined_1": "00:00:00",
    }  # fmt: skip
    assert root.post(f"/admin/accounts/user/{ada.pk}/change/", form).status_code == 302
    entry = kept()
    assert (entry.who, entry.act, entry.model, entry.key) == ("root", "change", "accounts.user", str(ada.pk))
    assert entry.before == {"role": "customer", "groups": []}
    assert entry.after == {"role": "senior_management", "groups": [str(group.pk)]}


def test_the_admin_keeps_that_a_password_changed_and_not_what_to(root: Client) -> None:
    ada = user()
    form = {"password1": "correct-horse-8", "password2": "correct-horse-8", "usable_password": "true"}
    assert root.post(f"/admin/accounts/user/{ada.pk}/password/", form).status_code == 302
    assert (kept().before, kept().after) == ({"password": "***"}, {"password": "***"})


def test_the_admin_keeps_who_was_made_and_who_was_deleted(root: Client) -> None:
    form = {
        "username": "eve", "email": "eve@example.com", "role": "customer", "usable_password": "true",
        "password1": "correct-horse-8", "password2": "correct-horse-8",
    }  # fmt: skip
    assert root.post("/admin/accounts/user/add/", form).status_code == 302
    assert (kept().act, kept().after["username"], kept().after["password"]) == ("create", "eve", "***")
    eve = User.objects.get(username="eve")
    chosen = {"action": "delete_selected", "_selected_action": [eve.pk], "post": "yes"}
    assert root.post("/admin/accounts/user/", chosen).status_code == 302
    assert (kept().act, kept().text, kept().before["role"]) == ("delete", "eve", "customer")


def test_a_request_that_is_decided_is_kept_once(root: Client) -> None:
    ada = user(role=Role.CUSTOMER, requested_role=Role.SENIOR_MANAGEMENT)
    root.post("/admin/accounts/user/", {"action": "approve_requests", "_selected_action": [ada.pk]})
    [entry] = Entry.objects.all()
    assert (entry.who, entry.act, entry.text) == ("root", "approve", "ada")
    assert entry.after == {"role": "senior_management", "request_decision": "approved"}
    assert not decide(ada, "declined")  # type: ignore[arg-type]
    assert Entry.objects.count() == 1


def test_a_record_edited_in_the_portal_and_in_the_admin_is_kept(root: Client) -> None:
    account = Account.objects.create(account_id=1, limit=10, products=["Brokerage"])
    page = f"/finance/accounts/{account.pk}/edit/"
    version = root.get(page).context["form"]["version"].value()
    root.post(page, {"limit": 20, "products": ["Brokerage"], "version": version})
    assert (kept().who, kept().model, kept().key) == ("root", "finance.account", account.pk)
    assert (kept().before, kept().after) == ({"limit": 10}, {"limit": 20})
    form = {"account_id": 1, "limit": 30, "products": '["Brokerage", "Commodity"]'}
    assert root.post(f"/admin/finance/account/{account.pk}/change/", form).status_code == 302
    assert kept().after == {"limit": 30, "products": ["Brokerage", "Commodity"]}
    root.post(f"/admin/finance/account/{account.pk}/delete/", {"post": "yes"})
    assert (kept().act, kept().before["limit"]) == ("delete", 30)


def test_a_form_that_changes_nothing_or_is_wrong_keeps_nothing(root: Client) -> None:
    account = Account.objects.create(account_id=1, limit=10)
    page = f"/finance/accounts/{account.pk}/edit/"
    version = root.get(page).context["form"]["version"].value()
    root.post(page, {"limit": 10, "version": version})
    root.post(page, {"limit": -1, "version": version})
    assert not Entry.objects.exists()


def test_a_snapshot_is_of_the_row_alone() -> None:
    account = Account.objects.create(account_id=1, limit=10, products=["Brokerage"])
    assert snapshot(account) == {
        "id": account.pk, "extra": {}, "account_id": 1, "limit": 10, "products": ["Brokerage"],
    }  # fmt: skip
    assert "limit" not in snapshot(Account.objects.defer("limit").get())
