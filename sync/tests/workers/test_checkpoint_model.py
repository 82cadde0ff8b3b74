"""The model of the checkpoint protocol has no violation within its bounds, and every mutation has one."""

import pytest

from sync.tests.support.checkpoint_model import MUTATIONS, Protocol, explore

pytestmark = pytest.mark.quick


def test_the_target_equals_the_source_at_the_checkpoint() -> None:
    result = explore(Protocol())
    assert result.way is None
    assert result.states > 1000


@pytest.mark.parametrize("name", MUTATIONS)
def test_each_part_of_the_protocol_is_needed(name: str) -> None:
    assert explore(MUTATIONS[name]).way
