"""Follows the binary log of MySQL or MariaDB and delivers the rows that were written without Django:
by raw SQL, other programs, database clients, TRUNCATE. What it cannot deliver it records for the
relay, which has to run as well. Runs until stopped; run one follower for each database.

The first start backfills every model. Later starts continue from the checkpoint, also after a
crash. At start, the follower checks the server's settings and the user's privileges, and prints the
statement that fixes what is missing.

examples:
  manage.py sync follow-binlog     next to a `manage.py sync relay`, under the same supervisor
  manage.py sync status            shows the follower's lag

exit status:
  0  stopped
  2  a server setting or privilege is missing, another follower is running, or the database is unreachable at start

Next: run the printed statement if the start failed; otherwise check `manage.py sync status`.
"""

import argparse
from typing import Any

from django.core.management.base import CommandError

from sync.workers import lifetime
from sync.workers.lease import Busy
from sync.workers.shutdown import stop_on_signals

SUMMARY = "capture the changes of other programs, until stopped"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(options: dict[str, Any], out: Any) -> int:
    # Imported here: the library is slow to load, and no other subcommand needs it.
    from sync.binlog.follower import Follower

    follower = Follower()
    stop_on_signals(follower.stop)
    try:
        with lifetime.logged("follow-binlog", follower.stop):
            follower.run()
    except Busy as busy:
        raise CommandError(str(busy), returncode=2) from busy
    return 0
