"""Says what is on both sides, what is still to be delivered, how late it arrives, what failed and who delivers.

Exit status 0: both databases are in sync, but for changes in flight, which are younger than a few seconds; 1: changes
are late, failed, paused or not delivered by anyone, or documents differ; 2: a server is out of reach.

--json prints what docs/schemas/status.schema.json describes.
"""

import argparse
import datetime
from typing import Any

from django.utils import timezone
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from sync.cli.output import dumps
from sync.core.humanize import counted, duration
from sync.mapping.kinds import kind_of
from sync.monitoring.queries import Unfinished
from sync.monitoring.status import WORDS, ModelStatus, Status, status

SUMMARY = "both sides' counts, lag, what is pending or failed, and who delivers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print it as JSON; null means unknown")


def run(options: dict[str, Any], out: Any) -> int:
    now = status()
    if options["json"]:
        out.write(dumps(now.as_dict()))
    else:
        _print(now, out)
    if not now.mongodb_up:
        return 2
    return 0 if now.word == "equal" else 1


def _print(now: Status, out: Any) -> None:
    out.write(_headline(now))
    # A host in a name, as in copy:a:27017, is no code of an emoji.
    console = Console(file=out, width=None if out.isatty() else 120, emoji=False)
    console.print(_models(now))
    if now.workers:
        console.print(_workers(now))
    if now.routes:
        console.print(_routes(now))
    for line in _details(now):
        out.write(line)


def _headline(now: Status) -> str:
    if not now.mongodb_up:
        return f"{now.word}: {now.mongodb_error}. {WORDS[now.word]}"
    if now.word == "equal":
        in_flight = counted(now.on_their_way, "change", "changes")
        return f"In sync. {f'{in_flight} in flight.' if now.on_their_way else WORDS[now.word]}"
    return f"{now.word}: {WORDS[now.word]}"


def _models(now: Status) -> Table:
    numbers = ("rows", "documents", "pending", "oldest", "in flight", "settling", "failed", "differ")
    table = Table("model")
    for name in numbers:
        table.add_column(name, justify="right")
    table.add_column("last delivery")
    for model in now.models:
        table.add_row(
            model.model,
            _count(model.rows),
            _count(model.documents),
            f"{model.pending:,}",
            "" if model.oldest_pending_age is None else duration(model.oldest_pending_age),
            f"{model.in_flight:,}",
            f"{model.settling:,}",
            f"{model.failed:,}",
            _count(model.mismatches),
            _last_delivery(model),
        )
    return table


def _count(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"


def _last_delivery(model: ModelStatus) -> str:
    if model.last_delivery:
        return _moment(model.last_delivery)
    return "unknown" if model.documents is None else "none"


def _moment(moment: datetime.datetime) -> str:
    return timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S")


def _workers(now: Status) -> Table:
    table = Table("worker", "host", "pid", "heartbeat", "keys/s", "delivered", "note")
    for worker in now.workers:
        age = f"{duration(worker.heartbeat_age)} ago"
        table.add_row(
            worker.kind,
            escape(worker.host),
            str(worker.pid),
            age if worker.alive else f"dead: {age}",
            "" if worker.rate is None else f"{worker.rate:,.0f}",
            f"{worker.delivered:,}",
            escape(worker.note),
        )
    return table


def _routes(now: Status) -> Table:
    table = Table(Column("route", overflow="fold"), "worker", "lag", "last in sync", "paused")
    for route in now.routes:
        table.add_row(
            escape(route.name),
            escape(route.holder) if route.alive else "none",
            "unknown" if route.lag is None else duration(route.lag),
            _moment(route.in_sync_at) if route.in_sync_at else "never",
            "paused" if route.paused else "",
        )
    return table


def _deliverers(now: Status, queue: str) -> str:
    kind, verb = kind_of(queue).worker, kind_of(queue).command
    name = f"{kind} for {queue}" if queue and kind_of(queue).worker == "relay" else kind
    if alive := now.delivering(queue):
        return f"{name}: {alive} alive"
    stuck = now.stuck(queue)
    return f"{name}: none alive{f', {stuck} stuck' if stuck else ''}; start one: manage.py sync {verb}"


def _details(now: Status) -> list[str]:
    """What is said in a line of its own, most of it only when there is something to say."""
    lag = now.lag
    lines = [
        f"lag, last {duration(lag.window)}: p50 {duration(lag.p50)}, p95 {duration(lag.p95)}, p99 {duration(lag.p99)}, "
        f"of {counted(lag.delivered, 'key', 'keys')}",
        f"rate: {'unknown' if now.rate is None else f'{now.rate:,.0f} keys/s'}",
        *(_deliverers(now, queue) for queue in now.queues),
    ]
    lines += [
        f"{route.name}: paused; to go on: manage.py sync resume {route.name}" for route in now.routes if route.paused
    ]
    for model in now.models:
        if model.paused:
            lines.append(f"{model.model}: paused; to go on: manage.py sync resume {model.model}")
        if model.backfill:
            lines.append(f"{model.model}: {counted(model.backfill, 'range', 'ranges')} of a backfill left")
        lines += [
            f"{model.model}: {failure.reason}: {failure.failed:,} failed, {failure.retrying:,} tried again"
            for failure in model.failures
        ]
        if model.verified:
            run, moment = model.verified, _moment(model.verified.finished_at)
            found = f"{counted(run.compared, 'row', 'rows')} compared, {run.found:,} different"
            lines.append(f"{model.model}: verified ({run.mode}) {moment}: {found}")
        if model.unfinished:
            lines.append(f"{model.model}: {_unfinished(model.unfinished)}")
    return lines


def _unfinished(run: Unfinished) -> str:
    why = run.error or "it is still running, or it was killed"
    rows = counted(run.compared, "row", "rows")
    return f"the verify ({run.mode}) of {_moment(run.started_at)} is not finished, {rows} compared: {why}"
