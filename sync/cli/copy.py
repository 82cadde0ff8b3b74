"""Copies a MongoDB collection, a database or a whole cluster to another deployment, and keeps the copy
in sync: `_id`s, documents byte for byte, indexes, options and deletes. A later run continues from
the checkpoint, and writes only what has changed.

An address is mongodb://user:password@host:port/database/collection?options. Leave out the
collection to copy a database, and the database to copy all databases except the server's own. The
destination's missing names are the source's.

The checkpoint is stored in the destination's collection _sync_copy. Both deployments have to be
replica sets. Views, time series collections, capped collections, users and roles are not copied.

examples:
  manage.py sync copy mongodb://a:27017/shop/sales mongodb://b:27017/backup/sales
  manage.py sync copy mongodb://a:27017/shop mongodb://b:27017/ --follow      the database, with all later changes
  manage.py sync copy mongodb://a:27017/ mongodb://b:27017/ --every 10m       everything, every ten minutes
  manage.py sync copy mongodb://a:27017/shop mongodb://b:27017/ --verify      compare, and write nothing
  manage.py sync copy mongodb://a:27017/shop mongodb://b:27017/ --promote     turn the copy into the primary

exit status:
  0  done; with --verify, both are in sync
  1  something differs, was rejected or skipped, or the route is paused
  2  wrong usage, a missing privilege, another copy to the same destination is running, or a server is unreachable

Next: --verify proves the copy; `manage.py sync status` shows the lag of a copy that follows.
"""

import argparse
import logging
import re
from collections.abc import Iterable
from typing import Any

from django.core.management.base import CommandError
from pymongo.errors import ConfigurationError, PyMongoError

from sync.core import humanize
from sync.core.humanize import counted
from sync.mongodb.change_stream import NotFollowed, in_words
from sync.mongodb.errors import Unavailable, reason
from sync.mongodb.privileges import NotPermitted
from sync.mongodb.uris import BadAddress, parse
from sync.replication.collection_sink import NotOurs
from sync.replication.copier import Copier, Result
from sync.workers import lifetime
from sync.workers.lease import Busy, LeaseLost, Paused
from sync.workers.shutdown import stop_on_signals

SUMMARY = "copy MongoDB collections to another deployment, and keep the copy in sync"
SHOWN = 10  # documents printed
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

logger = logging.getLogger("sync")


def duration(text: str) -> float:
    """Return the seconds of a time such as 10m. An argparse type."""
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text} is not a time such as 30s, 10m, 2h or 1d")
    return int(match[1]) * UNITS[match[2]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="the address to read from")
    parser.add_argument("destination", metavar="DEST", help="the address to write to")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--follow", action="store_true", help="then apply every change, until stopped")
    how.add_argument("--every", type=duration, metavar="TIME", help="copy again every 30s, 10m, 2h or 1d")
    how.add_argument("--verify", action="store_true", help="compare both, and write nothing")
    how.add_argument("--promote", action="store_true", help="end the copy: the TTL indexes of DEST delete again")
    parser.add_argument("--full", action="store_true", help="first compare every document, not only the changed ones")
    parser.add_argument("--replace", action="store_true", help="allow DEST to have other documents, and delete these")


def run(options: dict[str, Any], out: Any) -> int:
    try:
        source, destination = parse(options["source"]), parse(options["destination"])
        copier = Copier(source, destination, replace=options["replace"], full=options["full"])
        stop_on_signals(copier.stop)
        try:
            if options["promote"]:
                return _promote(copier, out)
            copier.require_two_places()
            copier.require_privileges(writes=not options["verify"])
            if options["verify"]:
                return _verify(copier, out)
            if options["follow"]:
                return _follow(copier, out)
            if options["every"]:
                with lifetime.logged("copy", copier.stop, **_facts(copier), how=f"every {options['every']} s"):
                    return _repeat(copier, options["every"], out)
            return _tell(copier.copy(), out)
        finally:
            copier.close()
    except (BadAddress, Busy, LeaseLost, NotFollowed, NotOurs, NotPermitted) as error:
        raise CommandError(str(error), returncode=2) from error
    except Paused as error:
        raise CommandError(str(error), returncode=1) from error
    except ConfigurationError as error:
        raise CommandError(f"Cannot use an address: {error}", returncode=2) from error
    except PyMongoError as error:
        raise Unavailable(reason(error)) from error


def _tell(results: Iterable[Result], out: Any) -> int:
    status = 0
    for result in results:
        if result.problem:
            out.write(f"{result.source} skipped: {result.problem}")
        else:
            out.write(f"{result.source} -> {result.destination}: {result.seen:,} read, {result.written:,} written")
        for what in result.spec:
            out.write(f"  {what}")
        for key, why in result.refused[:SHOWN]:
            out.write(f"  {in_words(key)} rejected: {why}")
        if len(result.refused) > SHOWN:
            out.write(f"  and {len(result.refused) - SHOWN:,} more rejected")
        status = max(status, int(bool(result.problem or result.spec or result.refused)))
    return status


def _follow(copier: Copier, out: Any) -> int:
    statuses = [0]
    with lifetime.logged("copy", copier.stop, **_facts(copier), how="follow"):
        copier.follow(lambda result: statuses.append(_tell([result], out)))
    return max(statuses)


def _facts(copier: Copier) -> dict[str, Any]:
    both = {"source": copier.source, "destination": copier.destination}
    return {name: lifetime.without_secrets(str(address)) for name, address in both.items()}


def _repeat(copier: Copier, seconds: float, out: Any) -> int:
    status = 0
    while not copier.stop.is_set():
        try:
            status = _tell(copier.copy(), out)
        except PyMongoError as error:
            status = 1
            logger.error("%s; the next run starts in %s.", reason(error), humanize.duration(seconds))
        except Paused as error:
            status = 1
            logger.info("%s; the next run starts in %s.", error, humanize.duration(seconds))
        copier.full = False
        copier.stop.wait(seconds)
    return status


def _promote(copier: Copier, out: Any) -> int:
    for name, done in copier.promote():
        out.write(f"{name} is promoted: it is no longer a copy.")
        for what in done:
            out.write(f"  {what}")
    return 0


def _verify(copier: Copier, out: Any) -> int:
    status = 0
    for result in copier.verify():
        count = len(result.different)
        mismatches = counted(count, "mismatch", "mismatches")
        out.write(f"{result.source}: {counted(result.compared, 'document', 'documents')} compared, {mismatches}")
        for what in result.spec:
            out.write(f"  {what}")
        for kind, key in result.different[:SHOWN]:
            out.write(f"  {in_words(key)} is {kind}")
        if count > SHOWN:
            out.write(f"  and {count - SHOWN:,} more")
        status = max(status, int(bool(count or result.spec)))
    return status
