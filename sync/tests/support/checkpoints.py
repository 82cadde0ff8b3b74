"""The checkpoints' states, as the table has them."""

from typing import Any

from sync.workers.models import Checkpoint


def state_of(name: str) -> dict[str, Any]:
    """{} where there is no such checkpoint."""
    checkpoint = Checkpoint.objects.filter(name=name).first()
    return dict(checkpoint.state) if checkpoint else {}


def write_state(name: str, **values: Any) -> None:
    """Overwrites these parts of a state."""
    assert Checkpoint.objects.filter(name=name).update(state={**state_of(name), **values})
