"""The model of the protocol has no violation within its bounds, and each mutation of it has one."""

import pytest

from sync.tests.support.model import FAILOVER, FAILOVER_MUTATIONS, MUTATIONS, Protocol, explore

BOUNDS = [
    {"writes": 2, "touches": 1, "kills": 0},
    {"writes": 2, "touches": 0, "kills": 1},
    {"writes": 2, "touches": 1, "inline": 1, "deliverers": 1},
    FAILOVER,
    {**FAILOVER, "writes": 1, "kills": 1},
    {**FAILOVER, "writes": 1, "deliverers": 2},
]


@pytest.mark.parametrize("claims", [False, True])
@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_document_and_row_match_at_rest(bounds: dict[str, int], *, claims: bool) -> None:
    result = explore(Protocol(claims=claims), **bounds)
    assert result.way is None
    assert result.states > 500


def test_a_change_that_settles_by_now_may_be_removed_as_well() -> None:
    """Without claims, a relay may remove the change of a deletion that another one has delivered."""
    assert explore(Protocol(remove_same=False), writes=3, touches=0).way is None


@pytest.mark.parametrize("name", MUTATIONS)
def test_each_part_of_the_protocol_is_needed(name: str) -> None:
    assert explore(MUTATIONS[name], writes=2, touches=0, kills=0).way


@pytest.mark.parametrize("name", FAILOVER_MUTATIONS)
def test_each_part_of_the_confirmation_is_needed(name: str) -> None:
    assert explore(FAILOVER_MUTATIONS[name], **FAILOVER).way
