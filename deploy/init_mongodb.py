"""Makes the MongoDB of compose.yaml a replica set, and the portal's user in it. To repeat it does no harm.

    python init_mongodb.py HOST:PORT

Reads the password of `root` from the file MONGODB_ROOT_PASSWORD_FILE, and the portal's user, password and database
from the address in MONGODB_URI_FILE.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure
from pymongo.uri_parser import parse_uri

ALREADY_INITIALIZED, ROLE_EXISTS, USER_EXISTS = 23, 51002, 51003
ACTIONS = ["find", "insert", "update", "remove", "createIndex"]  # docs/how-to/production.md
LONGEST = 60  # seconds until the only member has elected itself


def secret(variable):
    return Path(os.environ[variable]).read_text(encoding="utf-8").rstrip("\n")


def unless(code, database, *command, **options):
    """Runs a command. Returns whether it was done; False if it failed with this code."""
    try:
        database.command(*command, **options)
    except OperationFailure as error:
        if error.code != code:
            raise
        return False
    return True


def main(host):
    portal = parse_uri(secret("MONGODB_URI_FILE"))
    client: MongoClient[dict[str, Any]]
    with MongoClient(
        f"mongodb://{host}", username="root", password=secret("MONGODB_ROOT_PASSWORD_FILE"), directConnection=True
    ) as client:
        config = {"_id": portal["options"]["replicaSet"], "members": [{"_id": 0, "host": host}]}
        unless(ALREADY_INITIALIZED, client.admin, "replSetInitiate", config)
        deadline = time.monotonic() + LONGEST
        while not client.admin.command("hello")["isWritablePrimary"]:
            if time.monotonic() > deadline:
                sys.exit(f"{host} did not become the primary within {LONGEST} s.")
            time.sleep(0.2)

        database: Database[dict[str, Any]] = client[portal["database"]]
        rights = [{"resource": {"db": database.name, "collection": ""}, "actions": ACTIONS}]
        if not unless(ROLE_EXISTS, client.admin, "createRole", "portal", privileges=rights, roles=[]):
            client.admin.command("updateRole", "portal", privileges=rights, roles=[])
        user = {"pwd": portal["password"], "roles": [{"role": "portal", "db": "admin"}]}
        if not unless(USER_EXISTS, database, "createUser", portal["username"], **user):
            database.command("updateUser", portal["username"], **user)


if __name__ == "__main__":
    main(*sys.argv[1:])
