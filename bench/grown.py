"""Creates the portal's data, and databases with many times as much. The servers make the copies themselves."""

from __future__ import annotations

import datetime
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.servers import Servers

CUSTOMERS, TRADES = 500, 87_300  # about 1,750 accounts with about 50 trades each
USERS = 500
ENTRIES = 2000  # of the audit log
CROWD = 20  # users of each role
ROLES = ("customer", "technical_worker", "senior_management")
MOST = 200  # copies: the number of a copy has two hexadecimal digits, and account numbers have 32 bits
STEP = 9_000_000  # between the account numbers of two copies: the size of the generated range
# The columns that differ in each copy; {n} is the number of the copy. All else is copied, including _sync.
KEY = "CONCAT(SUBSTR(_id, 3), '{hex}')"
NUMBERS = """(SELECT CONCAT('[', COALESCE(GROUP_CONCAT(t.v + {n} * {step} ORDER BY t.i SEPARATOR ', '), ''), ']')
    FROM JSON_TABLE(accounts, '$[*]' COLUMNS (i FOR ORDINALITY, v INT PATH '$')) t)"""
OTHER = "CONCAT({column}, 'x{n}')"
SQL: dict[str, dict[str, str]] = {
    "finance_account": {"_id": KEY, "account_id": "account_id + {n} * {step}"},
    "finance_transaction": {"_id": KEY, "account_id": "account_id + {n} * {step}"},
    "finance_customer": {
        "_id": KEY, "accounts": NUMBERS, "username": OTHER.format(column="username", n="{n}"),
        "email": OTHER.format(column="email", n="{n}"), "user_id": "NULL",
    },
    "finance_customerword": {"id": "NULL", "customer_id": "CONCAT(SUBSTR(customer_id, 3), '{hex}')"},
    "accounts_user": {
        "id": "NULL", "username": OTHER.format(column="username", n="{n}"),
        "email": OTHER.format(column="email", n="{n}"),
    },
    "audit_entry": {"id": "NULL"},
}  # fmt: skip


def make() -> None:
    """Creates the data at its original size in the configured databases."""
    from django.contrib.auth.hashers import make_password
    from django.core.management import call_command

    from accounts.models import User
    from audit.models import Act, Entry
    from finance.models import Customer

    draw = random.Random(1)  # noqa: S311 (made-up data, no secret)
    call_command("load_demo", customers=CUSTOMERS, trades=TRADES, force=True, verbosity=0)
    names = [(f"{role}{number}", role) for role in ROLES for number in range(CROWD)]
    names += [(f"user{number}", "customer") for number in range(USERS)]
    unusable = make_password(None)
    people = [User(username=name, email=f"{name}@example.com", role=role, password=unusable) for name, role in names]
    boss = User(username="boss", email="boss@example.com", is_staff=True, is_superuser=True, password=unusable)
    User.objects.bulk_create([*people, boss])
    unlinked = Customer.objects.filter(user=None).order_by("pk")[:CROWD]
    # The linked user is not mirrored, so no document changes.
    for customer, number in zip(unlinked, range(CROWD), strict=True):
        customer.user = User.objects.get(username=f"customer{number}")
        customer.save(update_fields=["user"])
    keys = list(Customer.objects.values_list("pk", "name"))
    begun = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
    entries = [
        Entry(
            at=begun + datetime.timedelta(minutes=10 * number), who=f"technical_worker{number % CROWD}",
            act=draw.choice([Act.CHANGE, Act.CREATE, Act.DELETE]), model="finance.customer",
            key=key, text=name, before={"name": "A"}, after={"name": "B"},
        )
        for number, (key, name) in enumerate(draw.choices(keys, k=ENTRIES))
    ]  # fmt: skip
    Entry.objects.bulk_create(entries)
    from finance.delivering import deliver_now

    deliver_now()


def grow(servers: Servers, factor: int, database: str, seconds: float) -> int:
    """Copies everything to `database` on both servers, and the records `factor` times or until `seconds` have passed.

    Returns the number of copies made.
    """
    from django.db import connection

    give_up = time.monotonic() + seconds
    mariadb: Any = servers.mariadb
    with connection.cursor() as cursor:
        columns = {table: _columns(cursor, table) for table in connection.introspection.table_names(cursor)}
    connection.close()
    # The copies are gigabytes in size, so write them without binary log and flushes, as a restore would.
    mariadb.sql(
        "SET GLOBAL innodb_buffer_pool_size = 1 << 30; SET GLOBAL innodb_log_file_size = 1 << 30;"
        "SET GLOBAL innodb_flush_log_at_trx_commit = 0;"
        f"CREATE DATABASE {database} CHARACTER SET utf8mb4;"
        + ";".join(f"CREATE TABLE {database}.{table} LIKE analytics.{table}" for table in columns)
    )
    done = 0
    with ThreadPoolExecutor(2) as pool:
        while done < factor and (not done or time.monotonic() < give_up):
            sides = [pool.submit(_rows, mariadb, columns, database, done), pool.submit(_documents, database, done)]
            for side in sides:
                side.result()
            done += 1
    both = ", ".join(f"{name}.{table}" for name in ("analytics", database) for table in SQL)
    mariadb.sql(f"ANALYZE TABLE {both}; SET GLOBAL innodb_flush_log_at_trx_commit = 1;")
    return done


def _rows(mariadb: Any, columns: dict[str, list[str]], database: str, n: int) -> None:
    """Makes copy `n` of all rows. Copy 0 is unchanged and includes the tables that do not grow."""
    statements = ["SET sql_log_bin = 0", "SET foreign_key_checks = 0"]
    for table in columns if n == 0 else SQL:
        names = ", ".join(f"`{name}`" for name in columns[table])
        own = SQL.get(table, {}) if n else {}
        values = ", ".join(own.get(name, f"`{name}`") for name in columns[table])
        values = values.format(n=n, hex=f"{n:02x}", step=STEP) if n else values
        statements.append(f"INSERT INTO {database}.{table} ({names}) SELECT {values} FROM analytics.{table}")  # noqa: S608
    mariadb.sql(";".join(statements))


def _documents(database: str, n: int) -> None:
    """Makes copy `n` of all documents. Copy 0 is unchanged."""
    import pymongo
    from django.conf import settings

    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(settings.MONGODB_URI) as client:
        source: pymongo.database.Database[dict[str, Any]] = client.get_default_database()
        for name in ("accounts", "customers", "transactions"):
            key = {"$concat": [{"$substrBytes": [{"$toString": "$_id"}, 2, 22]}, f"{n:02x}"]}
            own: dict[str, Any] = {"_id": {"$toObjectId": key}}
            if name == "customers":
                own["accounts"] = {"$map": {"input": "$accounts", "in": {"$add": ["$$this", n * STEP]}}}
                own |= {field: {"$concat": [f"${field}", f"x{n}"]} for field in ("username", "email")}
            else:
                own["account_id"] = {"$add": ["$account_id", n * STEP]}
            into = {"into": {"db": database, "coll": name}, "on": "_id", "whenMatched": "fail"}
            source[name].aggregate([*([{"$set": own}] if n else []), {"$merge": into}])


def _columns(cursor: Any, table: str) -> list[str]:
    cursor.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = %s"
        " AND is_generated = 'NEVER' ORDER BY ordinal_position",
        [table],
    )
    return [name for (name,) in cursor.fetchall()]
