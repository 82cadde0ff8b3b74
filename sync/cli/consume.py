"""Reads the topics that mirrors are published to, and writes the newest state of each row into a
MongoDB collection: the mirror's own, or the one that --to names. Several consumers of one
collection share the partitions. A message that cannot be applied goes to the topic's dead letter
topic, TOPIC.dead, with the reason in its headers. Runs until stopped.

With --format debezium, it reads the topics of Debezium's MySQL connector (PREFIX.database.table)
instead. It records the key of each event as changed, and a relay delivers the row to all targets of
the mirror.

Positions are saved with the data, together with the ids of the topic and the cluster. If messages
were removed before they were read, or a topic was created again, or the cluster is another one, the
consumer prints what was lost and what to run. With --format debezium it also plans a backfill of
the model.

examples:
  manage.py sync consume story --to stories_1                      one replica; --to stories_2 is another
  manage.py sync consume story --to eu:stories                     into a database of SYNC_TARGETS
  manage.py sync consume story --to stories_1 --from-beginning     restore documents lost in the collection
  manage.py sync consume --format debezium --prefix dbserver1      capture the writes of other programs

exit status:
  0  stopped, or with --once everything is applied
  1  with --once, messages became dead letters or were lost; or messages are lost and the replica cannot continue
  2  wrong usage, or a server is unreachable

Next: for dead letters, read the headers of the messages in TOPIC.dead and fix the cause; for lost
messages, run the printed command.
"""

import argparse
import re
from contextlib import nullcontext
from typing import Any

from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS, connections

from sync.cli.arguments import positive
from sync.core import conf
from sync.core.humanize import counted
from sync.mapping.registry import Target, all_targets, chosen_targets
from sync.workers import lifetime
from sync.workers.lease import Paused
from sync.workers.shutdown import StopEvent, stop_on_signals

SUMMARY = "write published changes to MongoDB, until stopped"
MIRROR, DEBEZIUM = "mirror", "debezium"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help="a model, such as story; default: all published")
    parser.add_argument("--to", metavar="[ALIAS:]COLLECTION", help="the destination of one model's documents")
    parser.add_argument("--format", choices=[MIRROR, DEBEZIUM], default=MIRROR, help="the format of the messages")
    parser.add_argument("--prefix", help="with --format debezium: the topic.prefix of the connector")
    parser.add_argument("--from-beginning", action="store_true", help="read the topics again from their first message")
    parser.add_argument("--once", action="store_true", help="apply the messages present now, then exit")
    parser.add_argument("--batch", type=positive(int), help="messages read in one batch (default: SYNC_BATCH)")


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
    facts = {"topics": topics, "group": group, "brokers": conf.KAFKA.get("bootstrap.servers"), "batch": member.batch}
    try:
        with nullcontext() if options["once"] else lifetime.logged("consume", stop, **facts):
            member.run()
    except (Gap, Paused) as error:
        raise CommandError(str(error), returncode=1) from error
    if not options["once"]:
        return 0
    left = member.left()
    out.write(f"{counted(member.applied, 'message', 'messages')} applied, {member.rejected:,} moved to dead letters.")
    for line in left:
        out.write(line)
    return 1 if member.rejected or left else 0


def _mirror(options: dict[str, Any]) -> tuple[list[str], str, Any, str]:
    """Return the topics, the consumer group, the sink, and the queue's name in the heartbeat.

    That name is no queue of the outbox: a consumer delivers no changes.
    """
    from sync.kafka.client import topic
    from sync.kafka.replica import Replica

    if options["prefix"]:
        raise CommandError("--prefix needs --format debezium. Add it, or leave out --prefix.", returncode=2)
    chosen = [target for target in chosen_targets(options["models"]) if target.kind.worker == "publisher"]
    if not chosen:
        raise CommandError("None of these models is published. Add a Kafka target to a model's mirror.", returncode=2)
    if options["to"] is not None and len(chosen) > 1:
        raise CommandError("--to takes the documents of one model. Name the model.", returncode=2)
    to = options["to"] or ""
    destinations = {target: Target(target.model, to) for target in chosen}
    queue = next(iter(destinations.values())).queue
    if queue not in {"", *conf.TARGETS}:
        raise CommandError(f"SYNC_TARGETS has no alias {queue!r}. Add it, or use another one with --to.", returncode=2)
    direct = {(target.queue, target.collection) for target in all_targets()}
    for destination in destinations.values():
        name = destination.collection
        if not name or name.startswith("sync_") or (destination.queue, name) in direct:
            problem = f"Consumers cannot write to {name!r} in {queue or 'MONGODB_URI'}: relays deliver to it."
            raise CommandError(f"{problem} Name another collection with --to.", returncode=2)
    routes = {topic(target): (target.model, each.collection) for target, each in destinations.items()}
    group = f"{conf.KAFKA_PREFIX}.{to or 'mirror'}"
    return list(routes), group, Replica(routes, queue), f"kafka:{to}"[:50]


def _debezium(options: dict[str, Any]) -> tuple[list[str], str, Any, str]:
    from sync.kafka.debezium import Changes

    if not options["prefix"] or options["to"]:
        raise CommandError(
            "--format debezium needs --prefix and cannot have --to: relays deliver its changes.", returncode=2
        )
    models = list({target.model: None for target in chosen_targets(options["models"])})
    database = connections[DEFAULT_DB_ALIAS].settings_dict["NAME"]
    names = [(f"{options['prefix']}.{database}.{model._meta.db_table}", model) for model in models]
    routes = {re.sub(r"[^A-Za-z0-9._-]", "_", name): model for name, model in names}  # Debezium's rule for topic names
    group = f"{conf.KAFKA_PREFIX}.{DEBEZIUM}.{options['prefix']}"
    return list(routes), group, Changes(routes, group), f"kafka:{DEBEZIUM}"
