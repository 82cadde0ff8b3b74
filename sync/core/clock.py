"""The database's clock: leases are shared by machines whose own clocks differ."""

import datetime
from typing import Any

from django.db import connections
from django.db.models import DateTimeField, Func
from django.db.models.sql import Query
from django.utils.dateparse import parse_datetime


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


def database_now(using: str) -> datetime.datetime:
    """Returns the database's time in UTC."""
    query: Any = Query
    expression, _ = query(None).get_compiler(using).compile(DatabaseNow())  # not of a model
    with connections[using].cursor() as cursor:
        cursor.execute(f"SELECT {expression}", [])
        (now,) = cursor.fetchone()
    # MySQL returns a datetime, SQLite text.
    moment = parse_datetime(str(now))
    assert moment is not None, now
    return moment.replace(tzinfo=datetime.UTC)
