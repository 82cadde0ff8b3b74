"""Captures what no ORM sees, by following MySQL's or MariaDB's binary log: raw SQL, other programs, a person with a
client, TRUNCATE. It records changes, which a relay delivers. Runs until it is stopped; one for each database.

The first start backfills everything; every later one goes on where the last one ended, also after kill -9. What it
needs of the server and of its user is checked at the start, and said with the statement that fixes it.

examples:
  manage.py sync follow-binlog     beside a `manage.py sync relay`, under the same supervisor
  manage.py sync status            shows where it is, and how far behind

Exit status 0: stopped; 2: the server's settings or the user's rights do not do, another follower is at work, or
the database is out of reach at the start.
"""

import argparse
import logging
from typing import Any

from django.core.management.base import CommandError

from sync.workers.lease import Busy
from sync.workers.shutdown import stop_on_signals

SUMMARY = "record what other programs change, until stopped"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(options: dict[str, Any], out: Any) -> int:
    # Here, because the other verbs have no need of the library, which takes a while to load.
    from sync.binlog.follower import Follower

    follower = Follower()
    stop_on_signals(follower.stop)
    logging.getLogger("sync").info("The follower is at work.")
    try:
        follower.run()
    except Busy as busy:
        raise CommandError(str(busy), returncode=2) from busy
    return 0
