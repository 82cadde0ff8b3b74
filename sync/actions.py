"""What operators do to changes in trouble: each returns to how many it was done."""

from __future__ import annotations

from sync.clock import DatabaseNow
from sync.models import ChangeQuerySet, in_hand
from sync.recovering import tried_again

RETRY, DISCARD = "retry", "discard"


@tried_again
def retry(changes: ChangeQuerySet) -> int:
    """Makes those that failed, or wait for their next try, due now; not those that somebody is delivering."""
    free = changes.order_by().exclude(in_hand())
    return free.update(failed=False, attempts=0, claim="", due_at=DatabaseNow())


@tried_again
def discard(changes: ChangeQuerySet) -> int:
    """Forgets those that are parked. Their documents stay as they are, and verify goes on naming them."""
    return changes.order_by().filter(failed=True).delete()[0]
