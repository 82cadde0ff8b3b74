"""Checks the result of a schedule: reads both databases directly, and each document's history from a change stream."""

from __future__ import annotations

import json
from typing import Any

import bson
from bson import Int64, ObjectId
from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError

from sync.tests.chaos.journal import Account
from sync.tests.chaos.schedule import STAMPS
from sync.tests.support.compare import expected, sort, without_sync

COLLECTION, MARKERS = "accounts", "markers"


class History:
    """The history of each document, in order: (operation, document or None)."""

    def __init__(self, database: Database[dict[str, Any]]) -> None:
        self.database = database
        self.number = 0
        # MongoDB logs a conditional replace as a difference; pre- and post-images give the whole document.
        database.create_collection(COLLECTION, changeStreamPreAndPostImages={"enabled": True})
        self.watch(None)

    def watch(self, after: Any) -> None:
        chosen = [{"$match": {"ns.coll": {"$in": [COLLECTION, MARKERS]}}}]
        self.stream = self.database.watch(
            chosen, max_await_time_ms=200, resume_after=after, full_document="whenAvailable"
        )

    def take(self) -> dict[str, list[tuple[str, Any]]]:
        """Return the events since the last call, by key."""
        self.number += 1
        self.database[MARKERS].insert_one({"_id": self.number})
        events: dict[str, list[tuple[str, Any]]] = {}
        while True:
            try:
                event = self.stream.next()
            except OperationFailure:  # a member has rolled back its last writes, and closed all cursors
                self.watch(self.stream.resume_token)
                continue
            if event["ns"]["coll"] == MARKERS:
                if event["operationType"] == "insert" and event["documentKey"]["_id"] == self.number:
                    return events
                continue
            events.setdefault(str(event["documentKey"]["_id"]), []).append(
                (event["operationType"], event.get("fullDocument"))
            )


def wrong_documents(rows: dict[str, dict[str, Any]], documents: dict[str, Any]) -> dict[str, str]:
    """Return the problem of each key whose row and document differ."""
    wrong = {}
    for key in sorted(rows.keys() | documents.keys()):
        if key not in documents:
            wrong[key] = "the row has no document"
        elif key not in rows:
            wrong[key] = "the document has no row"
        else:
            document = sort(without_sync(documents[key]))
            if bson.encode(document) != bson.encode(sort(expected(rows[key]))):
                wrong[key] = "the document is not the row's"
    return wrong


def wrong_history(key: str, events: list[tuple[str, Any]], journal: Account) -> list[str]:
    """Return the problems in the history of one document."""
    wrong = []
    version, newest = -1, dict[int, int]()
    for number, (operation, document) in enumerate(events):
        if operation == "delete":
            version, newest = -1, {}
            continue
        if operation not in ("insert", "update", "replace") or document is None:
            wrong.append(f"event {number}: {operation} of {document}, which no delivery writes")
            continue
        if operation == "insert":
            version, newest = -1, {}
        seen = document.get("_sync", {}).get("v")
        if not isinstance(seen, Int64) or seen <= version:
            wrong.append(f"event {number}: version {seen} after {version}")
        version = seen
        stamp = document["limit"]
        if problem := _wrong_state(key, stamp, document, journal):
            wrong.append(f"event {number}: {problem}")
        # Within a life, each row is read after the write before it, so no writer's states go back.
        writer = stamp // STAMPS
        if stamp < newest.get(writer, 0):
            wrong.append(f"event {number}: {stamp} after {newest[writer]}, which the same writer wrote later")
        newest[writer] = max(stamp, newest.get(writer, 0))
    return wrong


def _wrong_state(key: str, stamp: int, document: dict[str, Any], journal: Account) -> str:
    if stamp not in journal.may[key]:
        why = "rolled back" if stamp in journal.never[key] else "never wrote"
        return f"the state {stamp}, which its writer {why}"
    account_id, products = journal.may[key][stamp]
    if account_id is not None and (document["account_id"], document["products"]) != (account_id, json.loads(products)):
        return f"the state {stamp} with other values than its writer saw: {account_id}, {products}"
    return ""


def documents_of(database: Database[dict[str, Any]]) -> dict[str, Any]:
    return {str(document["_id"]): document for document in database[COLLECTION].find()}


def forget(database: Database[dict[str, Any]], keys: list[str]) -> None:
    """Delete the documents of a finished schedule. Retries if a primary steps down meanwhile."""
    mine = {"_id": {"$in": [ObjectId(key) for key in keys]}}
    try:
        database[COLLECTION].delete_many(mine)
    except PyMongoError:
        database[COLLECTION].delete_many(mine)
