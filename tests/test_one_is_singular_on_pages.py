"""No page says "1 trades" in a world that has one of most things."""

from __future__ import annotations

from typing import Any

import pytest

from tests.plurals import wrong
from tests.world import World


@pytest.mark.django_db
@pytest.mark.parametrize("who", ["customer", "technical_worker", "senior_management", "superuser"])
def test_no_page_has_a_wrong_plural(made: World, who: str) -> None:
    pages = 0
    for route, address in made.addresses().items():
        answer: Any = made.clients[who].get(address)
        if answer.status_code == 200 and not answer.streaming and "html" in answer["Content-Type"]:
            assert wrong(answer.content.decode()) == [], route
            pages += 1
    assert pages > 5
