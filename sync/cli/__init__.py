"""The subcommands of `manage.py sync`.

Each module has SUMMARY, add_arguments(parser) and run(options, out) -> exit status. The module's docstring is the
subcommand's help: what it does, then "examples:", the exit status and what to do next.

Exit status: 0 done; 1 worked, but found or left problems; 2 wrong usage or an unreachable server.
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
    run,
    status,
    trace,
    verify,
    watch,
)

VERBS = {
    "status": status,
    "watch": watch,
    "run": run,
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
