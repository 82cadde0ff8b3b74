"""/dashboard/ redirects each role to its own dashboard."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.urls import reverse

from accounts.models import Role, User


@pytest.mark.django_db
def test_an_anonymous_visitor_is_sent_to_the_login_and_back(client: Client) -> None:
    assert client.get("/dashboard/")["Location"] == "/login/?next=/dashboard/"


@pytest.mark.parametrize("role", Role.values)
def test_each_role_is_redirected_to_its_dashboard(client: Client, person: Callable[..., User], role: str) -> None:
    client.force_login(person("ada", role=role))
    assert client.get("/dashboard/")["Location"] == reverse(settings.ROLE_DASHBOARDS[role])


@pytest.mark.parametrize("role", Role.values)
@pytest.mark.parametrize("owner", Role.values)
def test_another_roles_dashboard_is_forbidden(
    client: Client, person: Callable[..., User], role: str, owner: str
) -> None:
    client.force_login(person("ada", role=role))
    assert client.get(reverse(settings.ROLE_DASHBOARDS[owner])).status_code == (200 if role == owner else 403)


def test_a_superuser_without_a_role_sees_links_to_all_dashboards(client: Client, superuser: User) -> None:
    client.force_login(superuser)
    page = client.get("/dashboard/").content.decode()
    for url_name in ["admin:index", *settings.ROLE_DASHBOARDS.values()]:
        assert f'href="{reverse(url_name)}"' in page


def test_a_user_without_a_role_is_told_what_to_do(client: Client, person: Callable[..., User]) -> None:
    client.force_login(person("ada"))
    page = client.get("/dashboard/").content.decode()
    assert "has no role yet" in page
    assert reverse("admin:index") not in page


def test_an_unknown_role_written_by_sql_counts_as_no_role(client: Client, person: Callable[..., User]) -> None:
    """MySQL before 8.0.16 does not check constraints, and other servers can switch the check off."""
    ada = person("ada", role="customer")
    client.force_login(ada)
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = 1")
        elif getattr(connection, "mysql_is_mariadb", False):
            cursor.execute("SET SESSION check_constraint_checks = 0")
        else:
            pytest.skip("this server always checks")
        cursor.execute("UPDATE accounts_user SET role = 'CHIEF' WHERE id = %s", [ada.pk])
        cursor.execute(
            "PRAGMA ignore_check_constraints = 0"
            if connection.vendor == "sqlite"
            else "SET SESSION check_constraint_checks = 1"
        )
    assert client.get("/dashboard/").status_code == 200
