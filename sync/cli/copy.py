"""Copies a MongoDB collection, a database or all of a cluster to another place, and keeps the copy equal: `_id`s,
documents byte for byte, indexes, options, and deletes. A second run goes on where the first one ended, and writes
nothing where nothing has changed.

An address is mongodb://user:password@host:port/database/collection?options, without the collection for a database,
without the database for all databases but the server's own. What the destination leaves out is named as in the source.

How far it has come is kept in the destination, in the collection _sync_copy. Both sides have to be replica sets.
Views, time series and capped collections are not copied. Users and roles are not either.
"""

import argparse
import logging
import re
from collections.abc import Iterable
from typing import Any

from django.core.management.base import CommandError
from pymongo.errors import ConfigurationError, PyMongoError

from sync.core.humanize import counted
from sync.mongodb.change_stream import NotFollowed, in_words
from sync.mongodb.errors import Unavailable, reason
from sync.mongodb.privileges import NotPermitted
from sync.mongodb.uris import BadAddress, parse
from sync.replication.collection_sink import NotOurs
from sync.replication.copier import Copier, Result
from sync.workers.lease import Busy, LeaseLost, Paused
from sync.workers.shutdown import stop_on_signals

SUMMARY = "copy MongoDB collections to another place, and keep the copy equal"
EPILOG = """\
examples:
  manage.py sync copy mongodb://a:27017/shop/sales mongodb://b:27017/backup/sales
  manage.py sync copy mongodb://a:27017/shop mongodb://b:27017/ --follow      the database, from now on
  manage.py sync copy mongodb://a:27017/ mongodb://b:27017/ --every 10m       everything, on a schedule
  manage.py sync copy mongodb://a:27017/shop mongodb://b:27017/ --verify      compare, and write nothing
  manage.py sync copy mongodb://a:27017/shop mongodb://b:27017/ --promote     the copy becomes the primary

exit status: 0 done, or both sides are equal; 1 something differs, or was left out; 2 wrong use, or a server is out of
reach
"""
SHOWN = 10  # documents that are named
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

logger = logging.getLogger("sync")


def duration(text: str) -> float:
    """Seconds; an argparse type."""
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text} is no time: write 30s, 10m, 2h or 1d")
    return int(match[1]) * UNITS[match[2]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("source", metavar="SOURCE", help="an address")
    parser.add_argument("destination", metavar="DEST", help="an address")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--follow", action="store_true", help="go on with every change, until stopped")
    how.add_argument("--every", type=duration, metavar="TIME", help="again and again: every 30s, 10m, 2h, 1d")
    how.add_argument("--verify", action="store_true", help="compare both sides, and write nothing")
    how.add_argument("--promote", action="store_true", help="end the copy: let DEST's TTL indexes delete again")
    parser.add_argument("--full", action="store_true", help="compare everything first, not only what has changed")
    parser.add_argument("--replace", action="store_true", help="also where DEST has other documents, which are deleted")


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
                return _again_and_again(copier, options["every"], out)
            return _tell(copier.copy(), out)
        finally:
            copier.close()
    except (BadAddress, Busy, LeaseLost, NotFollowed, NotOurs, NotPermitted) as error:
        raise CommandError(str(error), returncode=2) from error
    except Paused as error:
        raise CommandError(str(error), returncode=1) from error
    except ConfigurationError as error:
        raise CommandError(f"An address cannot be used: {error}", returncode=2) from error
    except PyMongoError as error:
        raise Unavailable(reason(error)) from error


def _tell(results: Iterable[Result], out: Any) -> int:
    status = 0
    for result in results:
        if result.problem:
            out.write(f"{result.source} is left out: {result.problem}")
        else:
            out.write(f"{result.source} -> {result.destination}: {result.seen:,} read, {result.written:,} written")
        for what in result.spec:
            out.write(f"  {what}")
        for key, why in result.refused[:SHOWN]:
            out.write(f"  {in_words(key)} is refused: {why}")
        if len(result.refused) > SHOWN:
            out.write(f"  and {len(result.refused) - SHOWN:,} more are")
        status = max(status, int(bool(result.problem or result.spec or result.refused)))
    return status


def _follow(copier: Copier, out: Any) -> int:
    logger.info("Copying, and following.")
    statuses = [0]
    copier.follow(lambda result: statuses.append(_tell([result], out)))
    return max(statuses)


def _again_and_again(copier: Copier, seconds: float, out: Any) -> int:
    status = 0
    while not copier.stop.is_set():
        try:
            status = _tell(copier.copy(), out)
        except PyMongoError as error:
            status = 1
            logger.error("%s; the next run is in %.0f s.", reason(error), seconds)
        except Paused as error:
            status = 1
            logger.info("%s; the next run is in %.0f s.", error, seconds)
        copier.full = False
        copier.stop.wait(seconds)
    return status


def _promote(copier: Copier, out: Any) -> int:
    for name, done in copier.promote():
        out.write(f"{name} is a collection of its own now, and no copy.")
        for what in done:
            out.write(f"  {what}")
    return 0


def _verify(copier: Copier, out: Any) -> int:
    status = 0
    for result in copier.verify():
        count = len(result.different)
        out.write(f"{result.source}: {counted(result.compared, 'document', 'documents')} compared, {count:,} different")
        for what in result.spec:
            out.write(f"  {what}")
        for kind, key in result.different[:SHOWN]:
            out.write(f"  {in_words(key)} is {kind}")
        if count > SHOWN:
            out.write(f"  and {count - SHOWN:,} more")
        status = max(status, int(bool(count or result.spec)))
    return status
