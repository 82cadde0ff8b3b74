"""What a document can hold in every place that it goes to; `check` refuses anything else before it is stored.

| what | limit | because of |
|---|---|---|
| depth | 31 levels of JSON on MariaDB | JSON_VALID, which guards its columns: https://mariadb.com/kb/en/json_valid/ |
| depth | 99 levels below a field | https://www.mongodb.com/docs/manual/reference/limits/ (100 of a document) |
| size | 16 MiB of BSON, less 1 KiB for `_sync` | the same page; MySQL's max_allowed_packet |
| integers | 64 bits, signed | https://bsonspec.org/spec.html |
| decimals | 34 digits, 1E-6176 to 9.99E+6144 | IEEE 754-2008 decimal128 |
| dates | 64 bits of milliseconds | https://bsonspec.org/spec.html; columns: years 1 to 9999 |
| text | no lone surrogates | UTF-8 |
| keys | no NUL, no leading `$` | BSON; Extended JSON |

Levels are counted in the stored text: Extended JSON writes a date as an object, and a date outside its usual range as
two.
"""

from __future__ import annotations

from typing import Any

import bson
from bson.errors import BSONError
from django.db import connections, models, router

from sync.mapping.extended_json import to_extended_json

LEVELS = 99
LEVELS_ON_MARIADB = 31
LARGEST = (16 << 20) - 1024  # bytes of BSON
REFUSALS = (ValueError, TypeError, AttributeError, LookupError, RecursionError, ArithmeticError, BSONError)


def check(value: Any, model: type[models.Model] | None = None) -> None:
    """Raises one of REFUSALS, whose text is the reason, for a value that a document, or a column of `model`, cannot
    hold exactly.
    """
    levels = depth(to_extended_json(value))
    most = LEVELS_ON_MARIADB if model and _is_mariadb(model) else LEVELS
    if levels > most:
        raise ValueError(f"nested {levels} levels deep; at most {most} can be stored")
    size = len(bson.encode({"": value}))
    if size > LARGEST:
        raise ValueError(f"{size} bytes of BSON; MongoDB's limit is 16 MiB")


def depth(value: Any) -> int:
    """Levels of arrays and objects in JSON data."""
    levels, inner = 0, [value]
    while inner := [item for item in inner if type(item) in (dict, list)]:
        levels += 1
        inner = [each for item in inner for each in (item.values() if type(item) is dict else item)]
    return levels


def _is_mariadb(model: type[models.Model]) -> bool:
    connection: Any = connections[router.db_for_write(model)]
    return connection.vendor == "mysql" and connection.mysql_is_mariadb
