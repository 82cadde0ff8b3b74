"""The admin lets no user gain more rights than they have."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test import Client
from django.urls import reverse

from accounts.models import User
from accounts.tests.conftest import PASSWORD, confirm_identity

pytestmark = pytest.mark.quick

USERS = "/admin/accounts/user/"


@pytest.fixture
def clerk(client: Client, person: Callable[..., User]) -> User:
    """Staff with all of Django's permissions on users, but not a superuser. Logged in."""
    clerk = person("clerk", is_staff=True)
    apps = ["accounts", "account", "auth", "mfa"]
    clerk.user_permissions.set(Permission.objects.filter(content_type__app_label__in=apps))
    client.force_login(clerk)
    return clerk


def test_the_admin_uses_the_portals_login(client: Client, db: None) -> None:
    response = client.get("/admin/login/?next=/admin/accounts/")
    assert response["Location"] == "/login/?next=%2Fadmin%2Faccounts%2F"


def test_users_who_are_not_staff_are_refused(client: Client, ada: User) -> None:
    client.force_login(ada)
    assert client.get("/admin/", follow=True).status_code == 403


def test_the_admin_uses_the_portals_password_page(client: Client, superuser: User) -> None:
    client.force_login(superuser)
    assert client.get("/admin/password_change/")["Location"] == "/password/change/"


def test_staff_can_edit_names_but_not_rights(client: Client, clerk: User, ada: User) -> None:
    form = {"first_name": "Augusta", "role": "senior_management", "is_staff": "on", "is_superuser": "on",
            "email": "clerk2@example.com", "username": "other", "user_permissions": ["1"]}  # fmt: skip
    client.post(f"{USERS}{ada.pk}/change/", form)
    ada.refresh_from_db()
    assert ada.first_name == "Augusta"
    assert (ada.role, ada.is_staff, ada.is_superuser) == ("customer", False, False)
    assert (ada.username, ada.email) == ("ada", "ada@example.com")
    assert not ada.user_permissions.exists()


@pytest.mark.parametrize("whom", ["clerk", "root"])
@pytest.mark.parametrize("page", ["change", "password", "delete"])
def test_staff_cannot_change_themselves_or_superusers(
    client: Client, clerk: User, superuser: User, whom: str, page: str
) -> None:
    target = User.objects.get(username=whom)
    form = {"is_superuser": "on", "password1": "taken-over-99", "password2": "taken-over-99", "post": "yes"}
    assert client.post(f"{USERS}{target.pk}/{page}/", form).status_code == 403
    after = User.objects.get(pk=target.pk)
    assert (after.is_superuser, after.password) == (target.is_superuser, target.password)


def test_staff_cannot_set_passwords(client: Client, clerk: User, ada: User) -> None:
    form = {"password1": "taken-over-99", "password2": "taken-over-99"}
    assert client.post(f"{USERS}{ada.pk}/password/", form).status_code == 403


@pytest.mark.parametrize("url_name", ["accounts_user_add", "auth_group_changelist", "auth_group_add",
                                      "account_emailaddress_changelist", "mfa_authenticator_changelist"])  # fmt: skip
def test_pages_that_grant_rights_are_closed_to_staff(client: Client, clerk: User, url_name: str) -> None:
    assert client.get(reverse(f"admin:{url_name}")).status_code == 403


NEW_PASSWORD = {"password1": "taken-over-99", "password2": "taken-over-99", "usable_password": "true"}
ROOT = {"username": "root", "email": "root@example.com", "is_active": "on", "is_staff": "on", "is_superuser": "on"}


@pytest.mark.parametrize(
    ("page", "form"),
    [
        ("/admin/accounts/user/{root}/password/", NEW_PASSWORD),
        ("/admin/accounts/user/{root}/change/", {**ROOT, "email": "eve@evil.example"}),
        ("/admin/accounts/user/{ada}/change/", {**ROOT, "username": "ada", "email": "ada@example.com"}),
        ("/admin/accounts/user/add/", {"username": "eve", "email": "eve@evil.example", "role": "", **NEW_PASSWORD}),
        ("/admin/account/emailaddress/add/", {"user": "{root}", "email": "eve@evil.example", "verified": "on"}),
        ("/admin/account/emailaddress/", {"action": "make_verified", "_selected_action": "{unproven}"}),
        ("/admin/mfa/authenticator/{factor}/delete/", {"post": "yes"}),
        ("/admin/auth/group/add/", {"name": "mighty"}),
    ],
)
def test_a_superusers_stolen_session_grants_no_rights_without_the_password(
    client: Client, superuser: User, ada: User, page: str, form: dict[str, str]
) -> None:
    unproven = EmailAddress.objects.create(user=superuser, email="eve2@evil.example")
    factor = Authenticator.objects.create(user=ada, type=Authenticator.Type.TOTP, data={})
    ids = {"root": superuser.pk, "ada": ada.pk, "unproven": unproven.pk, "factor": factor.pk}
    client.force_login(superuser)

    def everything() -> list[object]:
        rows = User.objects.values_list("username", "email", "password", "is_superuser")
        addresses = EmailAddress.objects.values_list("email", "verified")
        return [sorted(rows), sorted(addresses), Authenticator.objects.count(), Group.objects.count()]

    before = everything()
    sent = {name: value.format(**ids) for name, value in form.items()}
    answer = client.post(page.format(**ids), sent)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/reauthenticate/?next=%2Fadmin%2F")
    assert everything() == before
    assert "taken-over-99" not in str(dict(client.session))
    confirm_identity(client)
    client.post(page.format(**ids), sent)
    assert everything() != before  # the same form succeeds now, so the refusal was due to the password


def test_a_change_of_rights_continues_after_the_password(client: Client, superuser: User, ada: User) -> None:
    client.force_login(superuser)
    form = {"username": "ada", "email": "ada@example.com", "role": "senior_management", "is_active": "on"}
    asked = client.post(f"{USERS}{ada.pk}/change/", form)
    client.post(asked["Location"], {"password": PASSWORD})
    ada.refresh_from_db()
    assert ada.role == "senior_management"


def test_a_superuser_fixes_a_name_without_the_password(client: Client, superuser: User, ada: User) -> None:
    client.force_login(superuser)
    form = {"username": "ada", "email": "ada@example.com", "role": "customer", "is_active": "on", "first_name": "A."}
    client.post(f"{USERS}{ada.pk}/change/", form)
    ada.refresh_from_db()
    assert ada.first_name == "A."


def test_a_superuser_edits_roles(client: Client, superuser: User, ada: User) -> None:
    client.force_login(superuser)
    confirm_identity(client)
    form = {"username": "ada", "email": "ada@example.com", "role": "senior_management", "is_active": "on"}
    assert client.post(f"{USERS}{ada.pk}/change/", form).status_code == 302
    ada.refresh_from_db()
    assert ada.role == "senior_management"


def test_a_superuser_adds_users(client: Client, superuser: User) -> None:
    client.force_login(superuser)
    confirm_identity(client)
    form = {"username": "new", "email": "New@example.com", "role": "customer", "usable_password": "true",
            "password1": "correct-horse-7", "password2": "correct-horse-7"}  # fmt: skip
    assert client.post(f"{USERS}add/", form).status_code == 302
    assert User.objects.get(username="new").email == "new@example.com"


@pytest.mark.parametrize("query", ["q=byron", "role__exact=customer", "request=approved", "q=ada@example"])
def test_users_can_be_searched_and_filtered(client: Client, superuser: User, ada: User, query: str) -> None:
    client.force_login(superuser)
    found = list(client.get(f"{USERS}?{query}").context["cl"].queryset)
    assert found == ([] if query == "request=approved" else [ada])


@pytest.mark.engine
@pytest.mark.parametrize("number", [2, -1])
@pytest.mark.parametrize("column", ["is_staff", "is_active"])
def test_users_are_listed_even_if_sql_stored_another_number_in_a_boolean(
    client: Client, superuser: User, ada: User, column: str, number: int
) -> None:
    """A TINYINT(1) accepts any small number, but Django's list has icons only for 0 and 1."""
    client.force_login(superuser)
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = 1")
        cursor.execute(f"UPDATE accounts_user SET {column} = %s WHERE id = %s", [number, ada.pk])
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = 0")
    for order in ("", "?o=6", "?o=-7"):
        response = client.get(f"{USERS}{order}")
        assert response.status_code == 200
        assert "ada@example.com" in response.content.decode()
