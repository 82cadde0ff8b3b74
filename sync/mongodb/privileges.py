"""Which of MongoDB's privileges a user lacks, before the work starts: the server's own errors only name a command.

The lists here are those of docs/how-to/copy.md and docs/how-to/pull.md; a test runs everything with exactly them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pymongo

READ = ("find", "listCollections", "listIndexes")
FOLLOW = (*READ, "changeStream")
WRITE = (
    *READ, "insert", "update", "remove", "createIndex", "dropIndex", "collMod", "bypassDocumentValidation",
)  # fmt: skip
PULL = ("find", "listCollections", "changeStream")


class NotPermitted(Exception):
    """A user lacks privileges. The message names them in one line."""


def require(
    client: pymongo.MongoClient[dict[str, Any]], actions: Iterable[str], database: str, *collections: str
) -> None:
    """Raises NotPermitted unless the client's user has all of these, on a server with access control.

    No collections: all of the database; database "": all databases.
    """
    answer = client.admin.command("connectionStatus", showPrivileges=True)["authInfo"]
    if not answer["authenticatedUsers"]:
        return
    granted = answer["authenticatedUserPrivileges"]
    lacking = [
        action
        for action in actions
        # Listing collections is a privilege on the database.
        for collection in ({""} if action == "listCollections" else collections or {""})
        if not any(action in one["actions"] and _covers(one["resource"], database, collection) for one in granted)
    ]
    if not database and not any("listDatabases" in one["actions"] for one in granted):
        lacking.append("listDatabases")
    if lacking:
        user = answer["authenticatedUsers"][0]["user"]
        place = f"the database {database}" if database else "all databases"
        raise NotPermitted(
            f"The MongoDB user {user} lacks {' and '.join(dict.fromkeys(lacking))} on {place}"
            f"{' (' + ' and '.join(collections) + ')' if collections else ''}. Grant it a role with these privileges."
        )


def _covers(resource: dict[str, Any], database: str, collection: str) -> bool:
    if resource.get("anyResource"):
        return True
    return resource.get("db") in ("", database) and resource.get("collection") in ("", collection)
