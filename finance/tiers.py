"""A customer's tiers, read from the document that holds them."""

from __future__ import annotations

from typing import Any

from finance.models import Customer


def tiers_of(customer: Customer) -> list[dict[str, Any]]:
    """The customer's tiers, active ones first: tier, active and benefits of each. Skips what is not a tier."""
    stored = customer.tier_and_details
    listed = [tier for tier in stored.values() if isinstance(tier, dict)] if isinstance(stored, dict) else []
    tiers = [tier | {"benefits": _list(tier.get("benefits"))} for tier in listed]
    return sorted(tiers, key=lambda tier: (not tier.get("active"), str(tier.get("tier", ""))))


def tier_names(customer: Customer) -> list[str]:
    """The names of the tiers, each once, sorted."""
    return sorted({str(tier.get("tier", "")) for tier in tiers_of(customer)})


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
