"""Shows all there is to know of one row: the row, its document, when that was written, whether they are equal, and
the changes that are pending or failed for it.

Exit status 0: equal, and nothing is pending; 1: not so; 2: a server is out of reach.
"""

import argparse
import datetime
import json
from typing import Any

import pymongo
from bson import json_util
from django.core.management.base import CommandError
from django.db import DEFAULT_DB_ALIAS
from pymongo.errors import PyMongoError

from sync import conf
from sync.mapping import codec
from sync.models import Change, MirroredModel
from sync.mongo import Unavailable, collection, reason
from sync.registry import KAFKA, Target, all_rows, chosen_targets

SUMMARY = "show one row, its document, and its changes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="such as account")
    parser.add_argument("key", metavar="KEY", help="its primary key, which is its document's _id")


def run(options: dict[str, Any], out: Any) -> int:
    targets = [target for target in chosen_targets([options["model"]]) if target.lane != KAFKA]
    model = targets[0].model
    pk: Any = model._meta.pk
    try:
        key = pk.to_python(options["key"])
        _id = codec(pk).to_bson(key)  # type: ignore[union-attr]
    except Exception as error:
        raise CommandError(f"{options['key']} is no key of {model._meta.label_lower}: {error}", returncode=2) from error
    row = all_rows(model, DEFAULT_DB_ALIAS).filter(pk=key).first()
    return max(_trace(target, row, str(key), _id, out) for target in targets)


def _trace(target: Target, row: MirroredModel | None, key: str, _id: Any, out: Any) -> int:
    document = _document(target, _id)
    changes = list(Change.objects.filter(model=target.label, key=key).order_by("recorded_at"))
    sync = document.pop("_sync", None) if document else None
    expected = row.to_document() if row else None
    microseconds = expected.pop("_sync", {}) if expected else {}
    if target.name:
        out.write(f"target:    {target.name}")
    out.write(f"row:       {_text(expected)}")
    out.write(f"document:  {_text(document)}")
    out.write(f"written:   {_written(sync)}")
    equal = _text(expected) == _text(document) and microseconds.get("us") == (sync or {}).get("us")
    out.write("verdict:   " + ("equal" if equal else "NOT equal"))
    for change in changes:
        out.write(f"change:    {_describe(change)}")
    return 0 if equal and all(change.settling for change in changes) else 1


def _document(target: Target, _id: Any) -> dict[str, Any] | None:
    try:
        with pymongo.timeout(conf.TIMEOUT):
            return collection(target).find_one({"_id": _id})
    except PyMongoError as error:
        raise Unavailable(reason(error)) from error


def _text(document: dict[str, Any] | None) -> str:
    return "none" if document is None else json.dumps(document, default=lambda value: json_util.default(value))


def _written(sync: Any) -> str:
    version = sync.get("v") if isinstance(sync, dict) else None
    if not isinstance(version, int):
        return "unknown" if sync is None else "by somebody else"
    moment = datetime.datetime.fromtimestamp(version / 1e6, datetime.UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S.%f} UTC (version {version})"


def _describe(change: Change) -> str:
    state = "failed" if change.failed else "settling" if change.settling else "pending"
    if change.claim:
        state += ", being delivered"
    tries = f", {change.attempts} tries, due {change.due_at:%H:%M:%S}: {change.error}" if change.error else ""
    return f"{state} since {change.recorded_at:%Y-%m-%d %H:%M:%S}{tries}"
