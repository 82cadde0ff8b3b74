"""Users for the tests of the mirror's pages. They have permissions directly: sync has no roles."""

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission

VIEWER = ("view_console", "view_record")
OPERATOR = (*VIEWER, "operate")


def user(name: str, *permissions: str) -> Any:
    made = get_user_model().objects.create_user(name, f"{name}@example.com", "x")
    made.user_permissions.set(Permission.objects.filter(content_type__app_label="sync", codename__in=permissions))
    return made
