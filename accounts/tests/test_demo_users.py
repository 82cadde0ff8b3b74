"""The demo users, whose password is public."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.test import Client

from accounts.managers import DEMO_PASSWORD
from accounts.models import User

pytestmark = [pytest.mark.quick, pytest.mark.django_db]


@pytest.fixture
def customer(db: None) -> User:
    return User.objects.create_demo_user("customer", "customer", "Cora", "Miller")


def test_demo_users_can_log_in_while_debug_is_on(client: Client, customer: User, settings: Any) -> None:
    settings.DEBUG = True
    response = client.post("/login/", {"login": "customer@example.com", "password": DEMO_PASSWORD})
    assert response["Location"] == "/dashboard/"


def test_demo_users_are_refused_without_debug(client: Client, customer: User) -> None:
    response = client.post("/login/", {"login": "customer", "password": DEMO_PASSWORD})
    assert response["Location"] == "/inactive/"
    assert "_auth_user_id" not in client.session


def test_a_demo_users_session_ends_when_debug_is_switched_off(client: Client, customer: User, settings: Any) -> None:
    settings.DEBUG = True
    client.force_login(customer)
    assert client.get("/profile/").status_code == 200
    settings.DEBUG = False
    assert client.get("/profile/").status_code == 302


def test_creating_a_demo_user_again_resets_it(customer: User) -> None:
    User.objects.update(role="", first_name="Other", password="")
    again = User.objects.create_demo_user("customer", "customer", "Cora", "Miller")
    assert (again.pk, again.role, again.first_name) == (customer.pk, "customer", "Cora")
    assert again.check_password(DEMO_PASSWORD)
    assert EmailAddress.objects.get(user=again).verified


def test_a_real_user_with_that_name_is_left_alone(db: None) -> None:
    User.objects.create_user("manager", "m@example.org", "a-real-password")
    with pytest.raises(ValueError, match="real user"):
        User.objects.create_demo_user("manager", "senior_management", "Mia", "Stone")
    assert User.objects.get().check_password("a-real-password")
