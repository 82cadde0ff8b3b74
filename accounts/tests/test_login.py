"""Logging in and out."""

from __future__ import annotations

import pytest
from django.core import mail
from django.test import Client

from accounts.models import User
from accounts.tests.conftest import PASSWORD

pytestmark = [pytest.mark.quick, pytest.mark.django_db]


def is_logged_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


@pytest.mark.parametrize("login", ["ada", "ADA", "ada@example.com", "Ada@Example.COM"])
def test_username_and_email_both_work(client: Client, ada: User, login: str) -> None:
    response = client.post("/login/", {"login": login, "password": PASSWORD})
    assert response["Location"] == "/dashboard/"
    assert is_logged_in(client)


def test_an_anonymous_visitor_returns_to_the_page_after_login(client: Client, ada: User) -> None:
    response = client.get("/profile/")
    assert response["Location"] == "/login/?next=/profile/"
    response = client.post(response["Location"], {"login": "ada", "password": PASSWORD, "next": "/profile/"})
    assert response["Location"] == "/profile/"


def test_the_login_never_redirects_to_another_site(client: Client, ada: User) -> None:
    response = client.post("/login/", {"login": "ada", "password": PASSWORD, "next": "https://evil.example/"})
    assert response["Location"] == "/dashboard/"


def test_logout_requires_a_post(client: Client, ada: User) -> None:
    client.force_login(ada)
    client.get("/logout/")
    assert is_logged_in(client)
    assert client.post("/logout/")["Location"] == "/"
    assert not is_logged_in(client)


def test_known_and_unknown_users_get_the_same_response(client: Client, ada: User) -> None:
    known = client.post("/login/", {"login": "ada", "password": "wrong"})
    unknown = client.post("/login/", {"login": "eve", "password": "wrong"})
    assert known.context["form"].errors == unknown.context["form"].errors
    assert known.status_code == unknown.status_code


def test_a_reset_gives_known_and_unknown_users_the_same_response(client: Client, ada: User) -> None:
    known = client.post("/password/reset/", {"email": "ada@example.com"})
    unknown = client.post("/password/reset/", {"email": "eve@example.com"})
    assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])
    assert len(mail.outbox) == 2


def test_a_reset_sets_a_new_password(client: Client, ada: User) -> None:
    client.post("/password/reset/", {"email": "ada@example.com"})
    link = next(word for word in mail.outbox[0].body.split() if "/password/reset/key/" in word)
    form = client.get(link, follow=True)
    client.post(form.request["PATH_INFO"], {"password1": "another-horse-8", "password2": "another-horse-8"})
    ada.refresh_from_db()
    assert ada.check_password("another-horse-8")


def test_a_password_change_requires_the_old_one(client: Client, ada: User) -> None:
    client.force_login(ada)
    new = {"password1": "another-horse-8", "password2": "another-horse-8"}
    client.post("/password/change/", {"oldpassword": "wrong", **new})
    ada.refresh_from_db()
    assert ada.check_password(PASSWORD)
    client.post("/password/change/", {"oldpassword": PASSWORD, **new})
    ada.refresh_from_db()
    assert ada.check_password("another-horse-8")


def test_an_inactive_user_is_locked_out(client: Client, ada: User) -> None:
    client.force_login(ada)
    User.objects.update(is_active=False)
    assert client.get("/profile/").status_code == 302
    response = Client().post("/login/", {"login": "ada", "password": PASSWORD})
    assert response["Location"] == "/inactive/"
