"""Writing the audit log: take a `snapshot`, act, `record` it, all in one transaction."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, NamedTuple

from allauth.account.adapter import get_adapter
from django.core.exceptions import PermissionDenied
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Field, Model
from django.http import HttpRequest

from audit.models import Act, Entry
from audit.values import exact

SECRET = frozenset({"password"})
HIDDEN = "***"  # recorded of a secret: that it changed
LONGEST = 10_000  # characters kept of one value
DEEPEST = 20  # levels of arrays and objects kept as such: a JSON column of MariaDB has room for 31


class Object(NamedTuple):
    """The object of an act, if it is not a row."""

    model: str
    key: str = ""
    text: str = ""


def snapshot(obj: Model) -> dict[str, Any]:
    """The fields of a row as JSON, many-to-many relations as sorted keys; `before` or `after` of `record`."""
    deferred = obj.get_deferred_fields()
    meta = obj._meta
    values = {field.name: _plain(field, obj) for field in meta.concrete_fields if field.attname not in deferred}
    if obj.pk is not None:
        many = {field.name: getattr(obj, field.name) for field in meta.many_to_many}
        values |= {name: sorted(map(str, rows.values_list("pk", flat=True))) for name, rows in many.items()}
    return values


def _plain(field: Field, obj: Model) -> Any:
    value = field.value_from_object(obj)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    try:
        return field.value_to_string(obj)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
        return exact(value)  # another program has stored what the field itself would refuse


def record(
    by: HttpRequest | None,
    act: str,
    what: Model | Object,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    *,
    secret: Collection[str] = SECRET,
) -> None:
    """Records that `by` did this. Only differences between `before` and `after` are stored; without one, nothing is
    recorded.

    by: the request of the user; None for a command.
    secret: fields whose values are not stored.
    """
    old, new = _difference(before or {}, after or {}, secret)
    if act == Act.CHANGE and not (old or new):
        return
    if isinstance(what, Model):
        what = Object(what._meta.label_lower, str(what.pk), str(what))
    Entry.objects.create(
        **_whom(by), act=act, model=what.model, key=what.key[:255], text=what.text[:255], before=old, after=new
    )


def _whom(by: HttpRequest | None) -> dict[str, Any]:
    if by is None:
        return {}
    return {"who": by.user.get_username(), "who_id": str(by.user.pk or ""), "address": address_of(by)}


def address_of(request: HttpRequest) -> str | None:
    """The client's network address; None behind a proxy that does not report it."""
    try:
        return str(get_adapter().get_client_ip(request))
    except PermissionDenied:
        return None


def _difference(before: dict[str, Any], after: dict[str, Any], secret: Collection[str]) -> tuple[Any, ...]:
    """The fields that differ, on both sides."""
    changed = [name for name in {**before, **after} if exact(before.get(name)) != exact(after.get(name))]
    return tuple(
        {name: HIDDEN if name in secret else _short(side[name]) for name in changed if name in side}
        for side in (before, after)
    )


def _short(value: Any) -> Any:
    """The value, if a JSON column of every database accepts it, or its text. Only the start of a long one."""
    try:
        text = value if isinstance(value, str) else json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False)
        text.encode()
        json.dumps(value, cls=DjangoJSONEncoder, allow_nan=False)
        kept = value if _depth(value) <= DEEPEST else text
    except (ValueError, RecursionError):  # NaN, a lone surrogate
        kept = text = exact(value).encode(errors="backslashreplace").decode()
    return kept if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _depth(value: Any) -> int:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if items is None else 1 + max(map(_depth, items), default=0)
