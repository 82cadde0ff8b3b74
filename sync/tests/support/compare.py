"""Compares both databases without the engine: SQL through a cursor, MongoDB through a client of the tests."""

import datetime
import json
from typing import Any

import bson
from bson import Int64, ObjectId, json_util
from django.db import connection, models
from pymongo.database import Database


def rows(model: type[models.Model]) -> dict[str, dict[str, Any]]:
    """Return the columns of each row by its key, as the database driver returns them."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {connection.ops.quote_name(model._meta.db_table)}")
        names = [column[0] for column in cursor.description]
        return {row["_id"]: row for row in (dict(zip(names, values, strict=True)) for values in cursor)}


def expected(row: dict[str, Any]) -> dict[str, Any]:
    """Return the document of a row of a finance table, by rules that are independent of the engine."""
    document: dict[str, Any] = {}
    for name, value in row.items():
        if value is None or name in ("extra", "user_id"):
            continue
        if name == "_id":
            document[name] = ObjectId(value)
        elif name in ("products", "accounts", "tier_and_details", "transactions"):
            document[name] = json.loads(value, object_hook=json_util.object_hook)
        elif name == "active":
            document[name] = bool(value)
        elif name.endswith("date"):
            moment = datetime.datetime.fromisoformat(str(value))
            document[name] = moment.replace(tzinfo=datetime.UTC)
        else:
            document[name] = value
    return {**document, **json.loads(row["extra"], object_hook=json_util.object_hook)}


def without_sync(document: dict[str, Any]) -> dict[str, Any]:
    version = document["_sync"]["v"]
    assert isinstance(version, Int64)
    return {name: value for name, value in document.items() if name != "_sync"}


def differences(model: Any, mongo: Database) -> list[str]:
    """Return the keys whose document is missing, an orphan, or different from its row in a byte of BSON."""
    found = {str(document["_id"]): document for document in mongo[model.mirror.collection].find()}
    wanted = {key: expected(row) for key, row in rows(model).items()}
    wrong = sorted(found.keys() ^ wanted.keys())
    for key in found.keys() & wanted.keys():
        if bson.encode(sort(without_sync(found[key]))) != bson.encode(sort(wanted[key])):
            wrong.append(key)
    return wrong


def sort(document: dict[str, Any]) -> dict[str, Any]:
    """Sort the top-level fields by name: columns have the table's order, fields the model's."""
    return dict(sorted(document.items()))
