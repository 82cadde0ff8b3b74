"""A field for email addresses that are compared without regard to case."""

from __future__ import annotations

from typing import Any

from django.db import models


class LowerCaseEmailField(models.EmailField):
    """Stored in lower case, so that `unique` ignores case on every database.

    "" is stored as NULL, because several users may have no address and `unique` must allow that. In Python it is always
    text.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "null": True})

    def to_python(self, value: Any) -> str:
        return str(value).lower() if value else ""

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> str:
        return value or ""

    def pre_save(self, model_instance: models.Model, add: bool) -> str:
        value = self.to_python(super().pre_save(model_instance, add))
        setattr(model_instance, self.attname, value)
        return value

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return value.lower() if value else None
