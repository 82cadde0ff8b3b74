"""The model of composed documents has no wrong end within its bounds, and each mutation of it has one."""

import pytest

from sync.tests.support.composed_model import BOUNDS, CAUGHT_WITH, MUTATIONS, Protocol, explore

SMALL: list[tuple[tuple[str, ...], dict[str, int]]] = [
    (("move", "move"), {}),
    (("move", "change the grandchild"), {"kills": 1}),
    (("change the branch", "change the branch"), {"kills": 1}),
]


@pytest.mark.parametrize(("transactions", "faults"), SMALL)
def test_documents_and_rows_match_at_rest(transactions: tuple[str, ...], faults: dict[str, int]) -> None:
    result = explore(Protocol(), transactions, **faults)
    assert result.way is None
    assert result.states > 1000


@pytest.mark.slow
@pytest.mark.parametrize(("transactions", "faults"), BOUNDS)
def test_documents_and_rows_match_at_rest_in_larger_bounds(
    transactions: tuple[str, ...], faults: dict[str, int]
) -> None:
    assert explore(Protocol(), transactions, **faults).way is None


@pytest.mark.parametrize("name", MUTATIONS)
def test_each_part_of_the_protocol_is_needed(name: str) -> None:
    transactions, faults = CAUGHT_WITH[name]
    assert explore(MUTATIONS[name], transactions, **faults).way
