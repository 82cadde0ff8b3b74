"""Which trades senior management's dashboard covers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

NONE = "-"  # in an address: trades without a symbol, accounts without a product, customers without a tier


@dataclass(frozen=True)
class Narrowing:
    """Which trades a report covers. An empty text means all of them.

    symbol: of the trade. product: of its account. tier: an active one of a customer of the account. customer: an `_id`.
    """

    symbol: str = ""
    product: str = ""
    tier: str = ""
    customer: str = ""

    @property
    def stated(self) -> dict[str, str]:
        return {name: value for name, value in asdict(self).items() if value}

    @property
    def digest(self) -> str:
        """Identifies it in the key of a stored report; empty for all trades."""
        text = json.dumps(self.stated, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12] if self.stated else ""


ALL = Narrowing()
