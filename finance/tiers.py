"""A customer's tiers, out of the document that holds them."""

from __future__ import annotations

from typing import Any

from finance.models import Customer


def tiers_of(customer: Customer) -> list[dict[str, Any]]:
    """The customer's tiers as the data has them, active ones first."""
    stored = customer.tier_and_details
    tiers = [tier for tier in stored.values() if isinstance(tier, dict)] if isinstance(stored, dict) else []
    return sorted(tiers, key=lambda tier: (not tier.get("active"), str(tier.get("tier", ""))))


def tier_names(customer: Customer) -> list[str]:
    """Their names, each once, sorted."""
    return sorted({str(tier.get("tier", "")) for tier in tiers_of(customer)})
