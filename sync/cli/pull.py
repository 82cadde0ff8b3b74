"""Keeps the rows of pulled models equal to their MongoDB collections: MongoDB is the main database there, and MySQL
follows. The first run, and one after the change stream's past was lost, compares everything; after that it goes on
where it was, after kill -9 too. Runs until it is stopped; one puller a model.

A document that its model cannot hold is parked with the reason while all others flow. It is tried again when it
changes, when a puller starts, and every minute. A dropped collection empties its table; a collection that was never
there does not.
"""

import argparse
import logging
from typing import Any

from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS
from pymongo.errors import PyMongoError

from sync.core.humanize import counted
from sync.mapping.registry import label
from sync.mongodb.change_stream import NotFollowed
from sync.mongodb.errors import Unavailable, reason
from sync.mongodb.privileges import NotPermitted
from sync.outbox.relay import require_read_committed
from sync.replication.models import DeadLetter
from sync.replication.pulled import PulledModel, pulled_models
from sync.replication.puller import Puller
from sync.workers.lease import Busy, LeaseLost, Paused
from sync.workers.shutdown import stop_on_signals

SUMMARY = "keep tables equal to MongoDB collections, where MongoDB is the main database"
EPILOG = """\
examples:
  manage.py sync pull                  all pulled models, until stopped
  manage.py sync pull sale --once      what has changed until now, and end
  manage.py sync pull sale --full      compare every document and every row first

exit status: 0 done; 1 documents are parked; 2 wrong use, another puller is at work, or a server is out of reach
"""
SHOWN = 10  # parked documents that are named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("models", nargs="*", metavar="MODEL", help="such as sale; default: all pulled models")
    parser.add_argument("--once", action="store_true", help="pull what has changed until now, and end")
    parser.add_argument("--full", action="store_true", help="compare everything first")


def run(options: dict[str, Any], out: Any) -> int:
    require_read_committed(DEFAULT_DB_ALIAS)
    models = chosen_models(options["models"])
    puller = Puller(models)
    stop_on_signals(puller.stop)
    try:
        puller.lease()
        try:
            if options["full"]:
                for pull in puller.pulls:
                    pull.rows.forget()
            if options["once"]:
                puller.catch_up()
            else:
                logging.getLogger("sync").info("Pulling %s.", ", ".join(label(model) for model in models))
                puller.run()
        finally:
            puller.release()
    except (Busy, LeaseLost, NotFollowed, NotPermitted) as error:
        raise CommandError(str(error), returncode=2) from error
    except Paused as error:
        raise CommandError(str(error), returncode=1) from error
    except PyMongoError as error:
        raise Unavailable(reason(error)) from error
    return _print_dead_letters(models, out)


def chosen_models(names: list[str]) -> list[type[PulledModel]]:
    """The pulled models that a command line names; all when it names none. Raises CommandError."""
    all_models = pulled_models()
    if not all_models:
        raise CommandError(
            "There is no pulled model: declare one with sync.replication.pulled.PulledModel.", returncode=2
        )
    known = {name: model for model in all_models for name in (label(model), str(model._meta.model_name))}
    for name in names:
        if name.lower() not in known:
            there_are = ", ".join(map(label, all_models))
            raise CommandError(f"{name} is no pulled model; there are {there_are}.", returncode=2)
    return list(dict.fromkeys(known[name.lower()] for name in names)) or all_models


def _print_dead_letters(models: list[type[PulledModel]], out: Any) -> int:
    status = 0
    for model in models:
        dead_letters = DeadLetter.objects.filter(model=label(model)).order_by("failed_at")
        if count := dead_letters.count():
            status = 1
            are_parked = counted(count, "document is parked", "documents are parked")
            out.write(f"{label(model)}: {are_parked}, because the model cannot hold {'it' if count == 1 else 'them'}:")
            for document in dead_letters[:SHOWN]:
                out.write(f"  {document.key}: {document.reason}")
            if count > SHOWN:
                out.write(f"  and {count - SHOWN:,} more, in the table {DeadLetter._meta.db_table}")
    return status
