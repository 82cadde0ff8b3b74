"""The database's clock: leases are shared by machines whose own clocks differ."""

import datetime
import functools
import time
from typing import Any

from django.db import connections
from django.db.models import DateTimeField, Func
from django.db.models.sql import Query

CLOCK_AGE = 60.0  # seconds after which the database's clock is read again


class DatabaseNow(Func):
    """The current time in UTC by the clock of the database that evaluates it."""

    function = "UTC_TIMESTAMP"
    template = "%(function)s(6)"
    arity = 0
    output_field = DateTimeField()

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        # SQLite compares text. Django stores six digits, so `.123` would be less than the `.123000` of the same moment,
        # and a change that is due now would not be found.
        template = "(STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f', 'NOW') || '000')"
        return self.as_sql(compiler, connection, template=template, **context)


@functools.cache
def now_sql(using: str) -> str:
    """Returns the expression of DatabaseNow for statements without parameters of their own in it."""
    query: Any = Query
    expression, _ = query(None).get_compiler(using).compile(DatabaseNow())  # not of a model
    return str(expression)


def database_now(using: str) -> datetime.datetime:
    """Returns the database's time in UTC."""
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT {now_sql(using)}", [])
        (now,) = cursor.fetchone()
    return as_moment(now)


def extrapolated_now(using: str) -> datetime.datetime:
    """Returns `database_now` without a query: as it was in the same CLOCK_AGE, and the time that has passed since."""
    then, at = _asked(using, int(time.monotonic() / CLOCK_AGE))
    return then + datetime.timedelta(seconds=time.monotonic() - at)


@functools.lru_cache
def _asked(using: str, period: int) -> tuple[datetime.datetime, float]:
    return database_now(using), time.monotonic()


def as_moment(value: Any) -> datetime.datetime:
    """Returns a time that a driver has read without Django's converters. MySQL's returns a datetime, SQLite's text."""
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=datetime.UTC)
    return datetime.datetime.fromisoformat(f"{value}+00:00")  # in a fifth of the time that `replace` takes
