"""The tiers of a customer as rows of a form."""

from __future__ import annotations

import uuid
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from finance.rows import CellErrors, Row, RowsField
from sync.core.humanize import grouped

LONGEST_NAME = 100
ACTIVE = "on"


class TiersField(RowsField):
    """An item is a pair: the tier's id, and the object stored under it."""

    template = "finance/tier_rows.html"
    cells = ("name", "benefits", "active")

    def items(self, value: Any) -> list[Any]:
        if not isinstance(value, dict) or not all(isinstance(tier, dict) for tier in value.values()):
            raise TypeError
        return [[key, tier] for key, tier in value.items()]

    def value(self, items: list[Any]) -> Any:
        return dict(items)

    def describe(self, value: Any) -> str:
        count = len(value) if isinstance(value, dict) else 0
        return f"{grouped(count)} {ngettext('tier', 'tiers', count)}"

    def texts(self, item: Any) -> Row:
        key, tier = item
        name, benefits, active = tier.get("tier", ""), tier.get("benefits", []), tier.get("active", False)
        texts = [key, name, *benefits]
        if not all(isinstance(text, str) and text == text.strip() and text.isprintable() for text in texts):
            raise TypeError
        if not isinstance(benefits, list) or not all(benefits) or not isinstance(active, bool):
            raise TypeError
        return {"name": name, "benefits": "\n".join(benefits), "active": ACTIVE if active else ""}

    def edit(self, item: Any, row: Row, edited: set[str]) -> Any:
        key, tier = item or (uuid.uuid4().hex, {})
        if item is None:
            tier = {"tier": "", "id": key, "active": False, "benefits": []}
        if not row["name"] or len(row["name"]) > LONGEST_NAME or not row["name"].isprintable():
            raise CellErrors({"name": _("Enter a name of at most 100 characters.")})
        if "name" in edited:
            tier = tier | {"tier": row["name"]}
        if "benefits" in edited:
            tier = tier | {"benefits": [line.strip() for line in row["benefits"].splitlines() if line.strip()]}
        if "active" in edited:
            tier = tier | {"active": row["active"] == ACTIVE}
        return [key, tier]
