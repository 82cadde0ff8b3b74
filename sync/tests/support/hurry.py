"""Time passes: what waits for a confirmation, a retry or a settling time is due now."""

from sync.outbox.models import Change
from sync.outbox.mongo_writer import State
from sync.outbox.relay import Relay

LONG_AGO = "2020-01-01T00:00Z"


def hurry() -> None:
    """As if all delays had passed."""
    Change.objects.update(due_at=LONG_AGO)


def confirm() -> dict[State, int]:
    """As if a relay had come by after SYNC_CONFIRM; how many keys came to which state."""
    hurry()
    return Relay().drain()
