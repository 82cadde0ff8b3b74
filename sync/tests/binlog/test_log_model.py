"""The model of the follower's delivery has no violation within its bounds, and each mutation of it has one."""

import pytest

from sync.tests.support.log_model import BOUNDS, CAUGHT_WITH, MUTATIONS, Protocol, explore


@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_document_and_row_match_at_rest(bounds: dict[str, int]) -> None:
    result = explore(Protocol(), **bounds)
    assert result.way is None
    assert result.states > 1000


@pytest.mark.parametrize("name", MUTATIONS)
def test_each_part_of_the_protocol_is_needed(name: str) -> None:
    assert explore(MUTATIONS[name], **CAUGHT_WITH.get(name, {})).way
