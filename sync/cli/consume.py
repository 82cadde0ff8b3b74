"""Reads the topics that mirrors are published to, and writes each row's newest state into a collection of MongoDB: the
mirror's own, or the one that --to names. Runs until it is stopped; run as many as you like for one collection, they
share the partitions. What cannot be applied goes to the topic's name with `.dead`, the reason in its headers.

With --format debezium it reads the topics of Debezium's MySQL connector (PREFIX.database.table) instead. Of each event
the key is recorded as changed, and the relay delivers the row: to MongoDB, and wherever else the mirror says.

Positions are kept beside the data, with the ids of topic and cluster. When messages were removed before they were
read, a topic was created again or another cluster answers, one line says what was lost and what to run; with
--format debezium a backfill of the model is planned, too.

  manage.py sync consume story --to stories_1          one replica; the same with stories_2 is another
  manage.py sync consume story --to eu:stories         in a database of SYNC_TARGETS
  manage.py sync consume story --to stories_1 --from-beginning     what was lost in the collection comes back
  manage.py sync consume --format debezium --prefix dbserver1      what other programs write, is captured

Exit status 0: stopped, or with --once all that there was is applied; 1: some messages became dead letters or were lost
(--once), or a replica cannot go on behind lost ones; 2: wrong use, or a server is out of reach.
"""

import argparse
import logging
import re
from typing import Any

from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, connections

from sync.cli.relay import positive
from sync.core import conf
from sync.core.humanize import counted
from sync.mapping.registry import KAFKA, Target, all_targets, chosen_targets
from sync.workers.lease import Paused
from sync.workers.shutdown import StopEvent, stop_on_signals

SUMMARY = "write into MongoDB what was published, until stopped"
MIRROR, DEBEZIUM = "mirror", "debezium"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help="such as story; default: all that are published")
    parser.add_argument("--to", metavar="[ALIAS:]COLLECTION", help="where one model's documents go")
    parser.add_argument("--format", choices=[MIRROR, DEBEZIUM], default=MIRROR, help="whose messages they are")
    parser.add_argument("--prefix", help="with --format debezium: the connector's topic.prefix")
    parser.add_argument("--from-beginning", action="store_true", help="read again all that the topics have")
    parser.add_argument("--once", action="store_true", help="read what there is, and end")
    parser.add_argument("--batch", type=positive(int), help="messages read at once (default: SYNC_BATCH)")


def run(options: dict[str, Any], out: Any) -> int:
    from sync.kafka.consumer import Member
    from sync.kafka.position import Gap

    topics, group, sink, queue = (_debezium if options["format"] == DEBEZIUM else _mirror)(options)
    stop = StopEvent()
    member = Member(
        topics, group, sink, batch=options["batch"] or conf.BATCH, queue=queue, once=options["once"], stop=stop,
        from_beginning=options["from_beginning"],
    )  # fmt: skip
    if not options["once"]:
        stop_on_signals(stop)
        logging.getLogger("sync").info("Consuming %s as %s.", ", ".join(topics), group)
    try:
        member.run()
    except (Gap, Paused) as error:
        raise CommandError(str(error), returncode=1) from error
    if not options["once"]:
        return 0
    left = member.left()
    out.write(f"{counted(member.applied, 'message', 'messages')} applied, {member.rejected} moved to dead letters.")
    for line in left:
        out.write(line)
    return 1 if member.rejected or left else 0


def _mirror(options: dict[str, Any]) -> tuple[list[str], str, Any, str]:
    """The topics, the group, the sink, and what the heartbeat calls the queue: none that changes are delivered in."""
    from sync.kafka.client import topic
    from sync.kafka.replica import Replica

    if options["prefix"]:
        raise CommandError("--prefix is for --format debezium.", returncode=2)
    chosen = [target for target in chosen_targets(options["models"]) if target.queue == KAFKA]
    if not chosen:
        raise CommandError("No such model is published: its mirror names no kafka target.", returncode=2)
    if options["to"] is not None and len(chosen) > 1:
        raise CommandError("--to is for one model; name it.", returncode=2)
    to = options["to"] or ""
    places = {target: Target(target.model, to) for target in chosen}
    queue = next(iter(places.values())).queue
    if queue not in {"", *conf.TARGETS}:
        raise CommandError(f"SYNC_TARGETS has no {queue!r}.", returncode=2)
    direct = {(target.queue, target.collection) for target in all_targets()}
    for place in places.values():
        if not place.collection or place.collection.startswith("sync_") or (place.queue, place.collection) in direct:
            problem = f"{place.collection!r} in {queue or 'MONGODB_URI'} is not for consumers: relays deliver to it."
            raise CommandError(f"{problem} Name another collection with --to.", returncode=2)
    routes = {topic(target): (target.model, place.collection) for target, place in places.items()}
    group = f"{conf.KAFKA_PREFIX}.{to or 'mirror'}"
    return list(routes), group, Replica(routes, queue), f"{KAFKA}:{to}"[:50]


def _debezium(options: dict[str, Any]) -> tuple[list[str], str, Any, str]:
    from sync.kafka.debezium import Changes

    if not options["prefix"] or options["to"]:
        raise CommandError("--format debezium needs --prefix, and has the relays deliver: no --to.", returncode=2)
    models = list({target.model: None for target in chosen_targets(options["models"])})
    database = connections[DEFAULT_DB_ALIAS].settings_dict["NAME"]
    names = [(f"{options['prefix']}.{database}.{model._meta.db_table}", model) for model in models]
    routes = {re.sub(r"[^A-Za-z0-9._-]", "_", name): model for name, model in names}  # as Debezium does
    group = f"{conf.KAFKA_PREFIX}.{DEBEZIUM}.{options['prefix']}"
    return list(routes), group, Changes(routes, group), f"{KAFKA}:{DEBEZIUM}"
