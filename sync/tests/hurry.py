"""Time passes: what waits for a confirmation, a retry or a settling time is due now."""

from sync.models import Change
from sync.relay import Relay
from sync.writes import State

LONG_AGO = "2020-01-01T00:00Z"


def hurry() -> None:
    """As if all delays had passed."""
    Change.objects.update(due_at=LONG_AGO)


def confirm() -> dict[State, int]:
    """As if a relay had come by after SYNC_CONFIRM; how many keys came to which state."""
    hurry()
    return Relay().drain()
