"""The verbs of `manage.py sync`: one module each, with SUMMARY, add_arguments(parser) and run(options, out) -> status.

Exit status: 0 done; 1 it worked and found a difference or left something; 2 wrong use or a server out of reach.
"""

from sync.cli import (
    backfill,
    consume,
    copy,
    discard,
    follow_binlog,
    pause,
    publish,
    pull,
    relay,
    resume,
    retry,
    status,
    trace,
    verify,
)

VERBS = {
    "status": status,
    "relay": relay,
    "follow-binlog": follow_binlog,
    "backfill": backfill,
    "verify": verify,
    "trace": trace,
    "retry": retry,
    "discard": discard,
    "pause": pause,
    "resume": resume,
    "pull": pull,
    "copy": copy,
    "publish": publish,
    "consume": consume,
}
