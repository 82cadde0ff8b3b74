"""Real servers for benchmarks, and a fair comparison: all variants take turns for many rounds within one run."""

from __future__ import annotations

import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import django
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from tests.servers import Servers

SETTLE = 0.5  # seconds between two variants
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


@contextmanager
def portal(settings: str = "analytics_site.settings") -> Iterator[Servers]:
    """A migrated portal on its own MariaDB and mongod, which are stopped and removed afterwards."""
    from tests.servers import Servers

    os.environ |= {
        "DJANGO_SETTINGS_MODULE": settings, "SECRET_KEY": "bench-only", "DEBUG": "0", "HTTPS": "0",
        "CACHE_URL": "locmemcache://",
    }  # fmt: skip
    servers = Servers(tempfile.gettempdir())  # on a disk: a commit takes as long as in production
    try:
        servers.start()
        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0, run_syncdb=True)  # the models of tests have no migrations
        yield servers
    finally:
        servers.stop()


def plain_model() -> Any:
    """A model with the columns of Account that is not mirrored. Creates its table."""
    from django.db import connection, models

    from sync.mapping import fields

    class Plain(models.Model):
        id = fields.ObjectIdField(primary_key=True, db_column="_id")
        extra = fields.DocumentField(default=dict)
        account_id = models.IntegerField(db_index=True)
        limit = models.IntegerField()
        products = fields.DocumentField(default=list)

        objects: ClassVar[models.Manager] = models.Manager()

        class Meta:
            app_label = "bench"

    with connection.schema_editor() as editor:
        editor.create_model(Plain)
    return Plain


def compare(variants: dict[str, Callable[[], None]], rounds: int, repeat: int) -> dict[str, list[float]]:
    """Milliseconds per call of each variant, one figure per round. Variants take turns with `repeat` calls each."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, call in variants.items():
            gc.collect()  # end the threads of abandoned clients here, not in the next variant's time
            time.sleep(SETTLE)
            start = time.perf_counter()
            for _ in range(repeat):
                call()
            if number:  # the first round warms up
                times[name].append((time.perf_counter() - start) / repeat * 1000)
    return times


def print_ratios(title: str, times: dict[str, list[float]], bases: list[str]) -> None:
    """Each variant's median, and the median of its ratios to each base, round by round."""
    table = Table("", "ms, median", "min", "max", *[f"x {base}" for base in bases], title=title, title_justify="left")
    for name, values in times.items():
        ratios = [
            statistics.median(mine / theirs for mine, theirs in zip(values, times[base], strict=True)) for base in bases
        ]
        figures = [statistics.median(values), min(values), max(values), *ratios]
        table.add_row(name, *[f"{figure:.3g}" for figure in figures])
    Console(width=120).print(table)
