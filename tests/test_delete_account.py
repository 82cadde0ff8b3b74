"""Deleting one's own account: at once, or by staff if others depend on it."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.http import Http404
from django.test import Client, RequestFactory

from accounts.models import Session, User
from accounts.tests.conftest import PASSWORD, confirm_identity
from analytics_site.delete_account import delete_account
from audit.models import Entry
from finance.models import Customer
from finance.tests.people import customer

pytestmark = pytest.mark.django_db
URL = "/my-data/delete/"


def person(name: str, **fields: Any) -> User:
    user = User.objects.create_user(name, f"{name}@example.org", PASSWORD, **fields)
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def signed_in(name: str) -> Client:
    browser = Client()
    browser.post("/login/", {"login": name, "password": PASSWORD})
    confirm_identity(browser)
    return browser


@pytest.fixture
def linked() -> User:
    user = person("mei", role="customer")
    customer("Mei", [1], linked=user)
    return user


def asked_at(user: User) -> Any:
    return User.objects.values_list("deletion_requested_at", flat=True).get(pk=user.pk)


def test_an_account_that_nobody_depends_on_is_deleted_at_once(django_capture_on_commit_callbacks: Any) -> None:
    user = person("mei", role="customer")
    browser, phone = signed_in("mei"), signed_in("mei")
    assert "Delete your account now" in browser.get(URL).content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        page = browser.post(URL, follow=True)
    assert page.request["PATH_INFO"] == "/"
    assert "Your account was deleted." in page.content.decode()
    assert not User.objects.filter(username="mei").exists()
    assert not Session.objects.filter(user_id=user.pk).exists()
    assert phone.get("/profile/")["Location"].startswith("/login/")
    entry = Entry.objects.get(act="delete")
    assert (entry.who, entry.key, entry.before) == ("mei", str(user.pk), {"username": "mei", "role": "customer"})
    assert [(message.to, message.subject) for message in mail.outbox] == [
        (["mei@example.org"], "[Analytics Portal] Your account was deleted")
    ]


@pytest.mark.parametrize("how", ["a linked record", "staff"])
def test_an_account_that_others_depend_on_is_a_request_to_staff(
    how: str, django_capture_on_commit_callbacks: Any
) -> None:
    user = person("mei", role="customer", is_staff=how == "staff")
    if how == "a linked record":
        customer("Mei", [1], linked=user)
    person("root", is_staff=True, is_superuser=True)
    person("clerk", is_staff=True)
    browser = signed_in("mei")
    with django_capture_on_commit_callbacks(execute=True):
        browser.post(URL)
        browser.post(URL)
    assert asked_at(user)
    (message,) = mail.outbox
    assert message.to == ["root@example.org"], "the one who may delete users, once"
    assert "/admin/accounts/user/?deletion_requested_at__isempty=0" in message.body
    assert "mei" not in message.body + message.subject
    assert "You asked our staff on" in browser.get("/my-data/").content.decode()
    browser.post(URL, {"withdraw": ""})
    assert asked_at(user) is None
    assert Entry.objects.filter(who="mei", model="accounts.user").count() == 2


def test_staff_find_the_request_in_the_admin_and_act_on_it(linked: User) -> None:
    person("root", is_staff=True, is_superuser=True)
    signed_in("mei").post(URL)
    admin = signed_in("root")
    page = admin.get("/admin/accounts/user/?deletion_requested_at__isempty=0").content.decode()
    assert ("mei@example.org" in page, "root@example.org" in page) == (True, False)
    admin.post(f"/admin/accounts/user/{linked.pk}/delete/", {"post": "yes"})
    assert not User.objects.filter(pk=linked.pk).exists()
    assert Customer.objects.get(name="Mei").user_id is None


def test_the_last_superuser_cannot_be_deleted() -> None:
    root = person("root", is_staff=True, is_superuser=True)
    person("former", is_staff=True, is_superuser=True, is_active=False)
    browser = signed_in("root")
    assert "You are the last superuser" in browser.get(URL).content.decode()
    browser.post(URL)
    assert asked_at(root) is None
    assert browser.post(f"/admin/accounts/user/{root.pk}/delete/", {"post": "yes"}).status_code == 403
    data = {"action": "delete_selected", "_selected_action": str(root.pk), "post": "yes"}
    assert browser.post("/admin/accounts/user/", data).status_code == 403
    assert User.objects.filter(pk=root.pk).exists()
    person("second", is_staff=True, is_superuser=True)
    browser.post(URL)
    assert asked_at(root)


def test_a_stolen_session_deletes_nothing_without_the_password(linked: User) -> None:
    person("ada", role="customer")
    for name in ("ada", "mei"):
        browser = Client()
        browser.post("/login/", {"login": name, "password": PASSWORD})
        assert "Confirm your identity" in browser.get(URL).content.decode()
        assert browser.post(URL)["Location"] == URL
    assert User.objects.filter(username="ada").exists()
    assert asked_at(linked) is None


def test_a_second_click_finds_the_account_gone() -> None:
    """Two requests of one session, of which the second waits until the first has deleted the account."""
    request = RequestFactory().post(URL)
    request.user = person("mei")
    User.objects.all().delete()
    with pytest.raises(Http404):
        delete_account(request)
