"""A writer: changes a few rows in every possible way, as fast as it can, and keeps a journal of its writes.

Every state that it writes has a unique stamp in `limit`: writer * 10^6 + an increasing number.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection, transaction
from django.db.models import F

from finance.models import Account
from sync.tests.chaos import composed, embedded_writes
from sync.tests.chaos.journal import Journal
from sync.tests.chaos.schedule import STAMPS

# Deadlock, lock time-out, duplicate key, foreign key: the transaction is rolled back for certain.
CERTAIN = {1213, 1205, 1062, 1451, 1452}
OF_STATEMENTS = {1062, 1451, 1452}
READ_BACK = "SELECT _id, `limit`, account_id, products FROM finance_account WHERE _id IN %s"


class RolledBack(Exception):
    """Rolls a transaction back on purpose."""


def _sql(statement: str, *values: Any) -> Callable[[], Any]:
    """Return a function that runs the statement."""

    def run() -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)

    return run


class Writer:
    """One process's writes of one schedule."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.chance = random.Random(task["seed"])
        self.number: int = task["number"]
        self.keys: list[str] = task["keys"]
        self.hot: int = task["hot"]
        self.total: float = task["total"]
        self.end = time.monotonic() + task["seconds"]
        self.inline: float = task["inline"]
        self.deletes: float = task["deletes"]
        self.raw: float = task["raw"]
        self.embedded: float = task["embedded"]
        self.schedule: int = task["schedule"]
        self.made: set[int] = set()  # the groups of embedded rows that exist
        self.journal = Journal(task["journal"])
        self.last = 0
        self.touched: set[str] = set()

    def run(self) -> None:
        while time.monotonic() < self.end:
            settings.SYNC_INLINE = self.chance.random() < self.inline
            if self.chance.random() < 0.4:
                self.single()
            else:
                self.several()
            if connection.errors_occurred:
                close_old_connections()
            if self.chance.random() < 0.3:
                time.sleep(self.chance.uniform(0, 0.01))

    def hot_keys(self) -> list[str]:
        """Return the keys to write now: a window that moves over all keys, the same for every writer."""
        gone = 1 - (self.end - time.monotonic()) / self.total
        first = int(gone * (len(self.keys) - self.hot + 1)) if len(self.keys) > self.hot else 0
        return self.keys[max(0, first) :][: self.hot] or self.keys[-1:]

    def group(self) -> composed.Group:
        """Return the embedded rows to write now, which is the same for every writer."""
        gone = 1 - (self.end - time.monotonic()) / self.total
        number = min(max(int(gone * composed.GROUPS), 0), composed.GROUPS - 1)
        group = composed.Group(self.schedule, number)
        if number not in self.made:
            self.made.add(number)
            with suppress(DatabaseError), transaction.atomic():
                embedded_writes.create_all(group)
        return group

    def single(self) -> None:
        """Do one operation in its own transaction."""
        act, stamps = self.operation()
        name = self.next_name()
        self.journal.write("may", name, {key: [stamp, None, None] for key, stamp in stamps.items()})
        try:
            act()
        except DatabaseError as error:
            if error.args and error.args[0] in CERTAIN:
                self.journal.write("end", name, False)
        else:
            self.journal.write("end", name, True)

    def several(self) -> None:
        """Do several operations in one transaction with savepoints; roll some back, partly or completely."""
        name = self.next_name()
        self.touched = set()
        committing = False
        try:
            with transaction.atomic():
                for _ in range(self.chance.randint(1, 4)):
                    self.step(depth=0)
                self.journal.write("may", name, self.states())
                if self.chance.random() < 0.15:
                    raise RolledBack
                committing = True
        except (DatabaseError, RolledBack):
            if not committing:
                self.journal.write("end", name, False)
        else:
            self.journal.write("end", name, True)

    def step(self, depth: int) -> None:
        try:
            with transaction.atomic():
                if depth < 2 and self.chance.random() < 0.3:
                    for _ in range(self.chance.randint(1, 2)):
                        self.step(depth + 1)
                else:
                    act, stamps = self.operation()
                    self.touched.update(stamps)
                    act()
                if self.chance.random() < 0.15:
                    raise RolledBack
        except RolledBack:
            pass
        except DatabaseError as error:
            # What a constraint rejects, or no row to update, is undone with its savepoint; a deadlock has undone all.
            is_lost = connection.connection is None or not connection.is_usable()
            if is_lost or (error.args and error.args[0] in (CERTAIN - OF_STATEMENTS)):
                raise

    def states(self) -> dict[str, Any]:
        """Return the rows that this transaction has changed, as the transaction sees them."""
        if not self.touched:
            return {}
        with connection.cursor() as cursor:
            cursor.execute(READ_BACK, [sorted(self.touched)])
            return {key: state for key, *state in cursor.fetchall()}

    def next_name(self) -> str:
        self.last += 1
        return f"{self.number}.{self.last}"

    def stamp(self) -> int:
        self.last += 1
        return self.number * STAMPS + self.last

    def operation(self) -> tuple[Callable[[], Any], dict[str, int]]:
        """Return a write that has not run yet, and the stamp that it may give to each key."""
        chance = self.chance
        keys = self.hot_keys()
        key = chance.choice(keys)
        some = chance.sample(keys, chance.randint(1, min(3, len(keys))))
        rows = Account.objects.filter(pk=key)
        stamp = self.stamp()
        values = {"account_id": stamp % 1000, "limit": stamp, "products": [str(stamp)]}
        is_raw = self.raw and chance.random() < self.raw
        if self.embedded and chance.random() < self.embedded:
            make = embedded_writes.raw_operation if is_raw else embedded_writes.operation
            return make(chance, self.group(), str(stamp)), {}
        if is_raw:
            return self.raw_operation(key, some, stamp)
        if chance.random() < self.deletes:
            if chance.random() < 0.5:
                return rows.delete, {}
            if chance.random() < 0.5:
                return Account.objects.filter(pk__in=some).delete, {}
            return Account(pk=key, **values).delete, {}
        kind = chance.randrange(12)
        new = [Account(pk=other, **values) for other in some]
        several = dict.fromkeys(some, stamp)
        one = {key: stamp}
        match kind:
            case 0:
                return lambda: Account.objects.create(pk=key, **values), one
            case 1:
                return Account(pk=key, **values).save, one
            case 2:
                return lambda: Account(pk=key, **values).save(update_fields=["limit"]), one
            case 3:
                return lambda: rows.update(limit=stamp, account_id=F("account_id") + 1), one
            case 4:
                return lambda: Account.objects.update_or_create(pk=key, defaults=values), one
            case 5:
                return lambda: Account.objects.get_or_create(pk=key, defaults=values), one
            case 6:
                return lambda: Account.objects.filter(pk__in=some).update(limit=stamp), several
            case 7:
                return lambda: Account.objects.bulk_create(new), several
            case 8:
                return lambda: Account.objects.bulk_create(new, ignore_conflicts=True), several
            case 9:
                update = {"update_conflicts": True, "update_fields": ["limit", "products"]}
                return lambda: Account.objects.bulk_create(new, **update), several
            case 10:
                return lambda: Account.objects.bulk_update(new, ["limit", "account_id"]), several
            case _:
                return lambda: self.edit(key, stamp), one

    def raw_operation(self, key: str, some: list[str], stamp: int) -> tuple[Callable[[], Any], dict[str, int]]:
        """Like `operation`, in SQL, which captures no change."""
        chance = self.chance
        several = dict.fromkeys(some, stamp)
        if chance.random() < self.deletes:
            return _sql("DELETE FROM finance_account WHERE _id IN %s", some), {}
        row = (stamp % 1000, stamp, json.dumps([str(stamp)]))
        rows = [value for other in some for value in (other, *row)]
        insert = "INSERT INTO finance_account (_id, account_id, `limit`, products, extra) VALUES "
        insert += ", ".join(["(%s, %s, %s, %s, '{}')"] * len(some))
        match chance.randrange(4):
            case 0:
                return _sql(insert, *rows), several
            case 1:
                update = "`limit` = VALUES(`limit`), products = VALUES(products)"
                return _sql(f"{insert} ON DUPLICATE KEY UPDATE {update}", *rows), several
            case 2:
                return _sql("UPDATE finance_account SET `limit` = %s WHERE _id = %s", stamp, key), {key: stamp}
            case _:
                update = "UPDATE finance_account SET `limit` = %s, account_id = account_id + 1 WHERE _id IN %s"
                return _sql(update, stamp, some), several

    @staticmethod
    def edit(key: str, stamp: int) -> None:
        """Read, change and save a row with an expression, as a form does."""
        account = Account.objects.filter(pk=key).first()
        if account is not None:
            account.limit = stamp
            account.account_id = F("account_id") + 1
            account.save(force_update=True)  # an expression cannot be inserted
