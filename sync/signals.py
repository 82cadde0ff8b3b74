"""Signals that sync sends to other apps."""

from django.dispatch import Signal
from django.utils.translation import gettext_lazy as _

# Sent after an operator has acted on a page, in the transaction of the act. The arguments are:
#   request         its `user` is the operator
#   act             one of ACTS
#   model           what was acted on: "sync.change", "sync.target", "sync.job", "sync.checkpoint", or a model's label
#   key, text       its key, and its name
#   before, after   dicts of what changed
operator_acted = Signal()

# Sent in the transaction that wrote or deleted rows of a mirrored model, also for rows that the follower or a repair
# reports. So an app can keep a table of its own in step with the rows. `sender` is the model; the arguments are:
#   keys    the keys of the rows, of which some may no longer exist
#   using   the alias of the database
rows_changed = Signal()

ACTS = {
    "retry": _("Retried"),
    "discard": _("Discarded"),
    "deliver": _("Delivered again"),
    "pause": _("Paused"),
    "resume": _("Resumed"),
    "verify": _("Asked to verify"),
    "repair": _("Asked to repair"),
    "backfill": _("Asked for a backfill"),
    "stop": _("Stopped"),
    "test": _("Tested the alerts"),
}
