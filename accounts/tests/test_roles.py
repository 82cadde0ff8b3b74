"""The permissions of each role."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, Permission

from accounts.models import Role, User

pytestmark = pytest.mark.quick

EVERYTHING = {name for names in settings.ROLE_PERMISSIONS.values() for name in names}


@pytest.mark.parametrize("role", Role.values)
def test_a_role_has_its_permissions_and_no_others(person: Callable[..., User], role: str) -> None:
    user = person("ada", role=role)
    assert user.get_all_permissions() == set(settings.ROLE_PERMISSIONS[role])
    assert not any(user.has_perm(name) for name in EVERYTHING - set(settings.ROLE_PERMISSIONS[role]))
    assert user.has_module_perms("finance")


def test_every_role_has_permissions_and_a_dashboard() -> None:
    assert set(settings.ROLE_PERMISSIONS) == set(settings.ROLE_DASHBOARDS) == set(Role.values)


def test_a_user_without_a_role_has_no_permissions(person: Callable[..., User]) -> None:
    assert person("ada").get_all_permissions() == set()


def test_an_inactive_user_has_no_permissions(person: Callable[..., User]) -> None:
    assert not person("ada", role="customer", is_active=False).has_perm("finance.view_own")


def test_a_superuser_has_all_permissions(superuser: User) -> None:
    assert superuser.has_perms(EVERYTHING)


def test_permissions_of_users_and_groups_add_to_those_of_the_role(ada: User) -> None:
    group = Group.objects.create(name="clerks")
    group.permissions.add(Permission.objects.get(codename="view_user"))
    ada.groups.add(group)
    ada.user_permissions.add(Permission.objects.get(codename="decide_requests"))
    ada = User.objects.get(pk=ada.pk)
    assert ada.get_all_permissions() == {"accounts.view_user", "accounts.decide_requests", "finance.view_own"}


def test_a_role_grants_no_permission_on_single_objects(ada: User) -> None:
    assert not ada.has_perm("finance.view_own", ada)
