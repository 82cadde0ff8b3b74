"""Reads and writes the states of checkpoints in their table."""

from typing import Any

from sync.workers.models import Checkpoint


def state_of(name: str) -> dict[str, Any]:
    """Return the state of a checkpoint; {} if the checkpoint does not exist."""
    checkpoint = Checkpoint.objects.filter(name=name).first()
    return dict(checkpoint.state) if checkpoint else {}


def write_state(name: str, **values: Any) -> None:
    """Overwrite these keys of a state."""
    assert Checkpoint.objects.filter(name=name).update(state={**state_of(name), **values})
