"""Keeps MySQL tables in sync with MongoDB collections, for models whose primary database is MongoDB
("pulled models"). The first run compares everything, and so does a run after the change stream's
history was lost. Other runs continue from the checkpoint, also after a crash. Runs until stopped;
run one puller for each model.

A document that does not fit its model becomes a dead letter with the reason, and does not stop the
others. It is retried when it changes, when a puller starts, and every minute. If a collection is
dropped, its table is emptied; a collection that never existed leaves the table unchanged.

examples:
  manage.py sync pull                  all pulled models, until stopped
  manage.py sync pull sale --once      apply the changes until now, then exit
  manage.py sync pull sale --full      compare every document and every row first

exit status:
  0  stopped, or done with --once
  1  there are dead letters, or a route is paused
  2  wrong usage, a missing privilege, another puller is running, or a server is unreachable

Next: fix the printed documents in MongoDB or the model; the puller retries them every minute.
"""

import argparse
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
from sync.workers import lifetime
from sync.workers.lease import Busy, LeaseLost, Paused
from sync.workers.shutdown import stop_on_signals

SUMMARY = "keep MySQL tables in sync with MongoDB collections"
SHOWN = 10  # dead letters printed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help="a pulled model, such as sale; default: all")
    parser.add_argument("--once", action="store_true", help="apply the changes until now, then exit")
    parser.add_argument("--full", action="store_true", help="compare every document and row first")


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
                with lifetime.logged("pull", puller.stop, models=[label(model) for model in models]):
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
    """Return the pulled models with these names; all if there are no names. Raises CommandError."""
    all_models = pulled_models()
    if not all_models:
        raise CommandError(
            "There is no pulled model. Declare one with sync.replication.pulled.PulledModel.", returncode=2
        )
    known = {name: model for model in all_models for name in (label(model), str(model._meta.model_name))}
    for name in names:
        if name.lower() not in known:
            labels = ", ".join(map(label, all_models))
            raise CommandError(f"{name} is not a pulled model. Pulled models: {labels}.", returncode=2)
    return list(dict.fromkeys(known[name.lower()] for name in names)) or all_models


def _print_dead_letters(models: list[type[PulledModel]], out: Any) -> int:
    status = 0
    for model in models:
        dead_letters = DeadLetter.objects.filter(model=label(model)).order_by("failed_at")
        if count := dead_letters.count():
            status = 1
            letters = counted(count, "dead letter", "dead letters")
            out.write(f"{label(model)}: {letters} that {'does' if count == 1 else 'do'} not fit the model:")
            for document in dead_letters[:SHOWN]:
                out.write(f"  {document.key}: {document.reason}")
            if count > SHOWN:
                out.write(f"  and {count - SHOWN:,} more, in the table {DeadLetter._meta.db_table}")
    return status
