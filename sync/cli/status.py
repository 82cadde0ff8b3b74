"""Shows the state of the mirror: rows and documents, pending and failed changes, lag, workers and
routes. Each problem is printed with the command that solves it.

examples:
  manage.py sync status
  manage.py sync status --json     for programs; docs/schemas/status.schema.json describes it

exit status:
  0  in sync; changes younger than a few seconds may be in flight
  1  changes are late, failed, paused or not delivered by any worker, or a verification found mismatches
  2  a server is unreachable

Next: run the printed command; `manage.py sync trace MODEL KEY` shows one record.
"""

import argparse
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from sync.cli.output import dumps
from sync.core.humanize import counted, duration, moment, number
from sync.mapping.kinds import kind_of
from sync.monitoring.queries import Unfinished
from sync.monitoring.status import TITLES, WORDS, ModelStatus, Status, status
from sync.outbox import fan_out

FAN_OUTS = 3  # of a model, listed with their progress
SUMMARY = "show counts, lag, pending and failed changes, and workers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON; null means unknown")


def run(options: dict[str, Any], out: Any) -> int:
    now = status()
    if options["json"]:
        out.write(dumps(now.as_dict()))
    else:
        _print(now, out)
    if not now.mongodb_up:
        return 2
    return 0 if now.word == "in_sync" else 1


def _print(now: Status, out: Any) -> None:
    out.write(_headline(now))
    # Without emoji: rich would replace ":a:" in a route's name such as copy:a:27017.
    console = Console(file=out, width=None if out.isatty() else 160, emoji=False)
    console.print(_models(now))
    if now.workers:
        console.print(_workers(now))
    if now.routes:
        console.print(_routes(now))
    for line in _details(now):
        out.write(line)


def _headline(now: Status) -> str:
    if not now.mongodb_up:
        return f"{TITLES[now.word]}: {now.mongodb_error}. {WORDS[now.word]}"
    if now.word == "in_sync":
        in_flight = counted(now.on_their_way, "change", "changes")
        return f"{TITLES[now.word]}. {f'{in_flight} in flight.' if now.on_their_way else WORDS[now.word]}"
    return f"{TITLES[now.word]}: {WORDS[now.word]}"


def _models(now: Status) -> Table:
    numbers = ("rows", "documents", "pending", "oldest", "in flight", "settling", "failed", "mismatches")
    table = Table(Column("model", overflow="fold"))
    for name in numbers:
        table.add_column(name, justify="right")
    table.add_column("last delivery")
    for model in now.models:
        table.add_row(
            model.model,
            number(model.rows),
            number(model.documents),
            f"{model.pending:,}",
            "" if model.oldest_pending_age is None else duration(model.oldest_pending_age),
            f"{model.in_flight:,}",
            f"{model.settling:,}",
            f"{model.failed:,}",
            number(model.mismatches),
            _last_delivery(model),
        )
    return table


def _last_delivery(model: ModelStatus) -> str:
    if model.last_delivery:
        return moment(model.last_delivery)
    return "unknown" if model.documents is None else "never"


def _workers(now: Status) -> Table:
    table = Table("worker", "host", "pid", "heartbeat", "changes/s", "delivered", "note")
    for process in now.processes:
        age = f"{duration(process.heartbeat_age)} ago"
        table.add_row(
            process.kind,
            escape(process.host),
            str(process.pid),
            age if process.alive else f"dead: {age}",
            "" if process.rate is None else number(process.rate),
            f"{process.delivered:,}",
            escape(process.note),
        )
    return table


def _routes(now: Status) -> Table:
    table = Table(Column("route", overflow="fold"), "worker", "lag", "last in sync", "paused")
    for route in now.routes:
        table.add_row(
            escape(route.name),
            escape(route.holder) if route.alive else "none",
            duration(route.lag),
            moment(route.in_sync_at),
            "paused" if route.paused else "",
        )
    return table


def _deliverers(now: Status, queue: str) -> str:
    kind, verb = kind_of(queue).worker, kind_of(queue).command
    name = f"{kind} for {queue}" if queue and kind_of(queue).worker == "relay" else kind
    if alive := now.delivering(queue):
        return f"{name}: {alive} running"
    stuck = now.stuck(queue)
    return f"{name}: none running{f', {stuck} stuck' if stuck else ''}; start one: manage.py sync {verb}"


def _details(now: Status) -> list[str]:
    """Return the lines below the tables. Most of them appear only if there is a problem."""
    lag = now.lag
    lines = [
        f"lag, last {duration(lag.window)}: p50 {duration(lag.p50)}, p95 {duration(lag.p95)}, p99 {duration(lag.p99)} "
        f"({counted(lag.delivered, 'change', 'changes')})",
        f"database: {now.topology}",
        f"throughput: {number(now.rate)}{'' if now.rate is None else ' per second'}",
        *(_deliverers(now, queue) for queue in now.queues),
    ]
    lines += [
        f"{route.name}: paused; resume it: manage.py sync resume {route.name}" for route in now.routes if route.paused
    ]
    for model in now.models:
        if model.paused:
            lines.append(f"{model.model}: paused; resume it: manage.py sync resume {model.model}")
        if model.backfill:
            lines.append(f"{model.model}: backfill, {counted(model.backfill, 'range', 'ranges')} left")
        if model.fan_outs:
            lines += [f"{model.model}: {line}" for line in _fan_outs(model)]
        lines += [
            f"{model.model}: {failure.reason}: {failure.failed:,} failed, {failure.retrying:,} retrying"
            for failure in model.failures
        ]
        if model.verified:
            run, at = model.verified, moment(model.verified.finished_at)
            found = f"{counted(run.compared, 'row', 'rows')} compared, {counted(run.found, 'mismatch', 'mismatches')}"
            lines.append(f"{model.model}: verified ({run.mode}) {at}: {found}")
        if model.unfinished:
            lines.append(f"{model.model}: {_unfinished(model.unfinished)}")
    return lines


def _fan_outs(model: ModelStatus) -> Iterator[str]:
    """The oldest ones with their progress, and the number of all."""
    for each in fan_out.oldest(model.model, FAN_OUTS):
        left = f"more than {each.left - 1:,}" if each.left > fan_out.COUNTED else f"{each.left:,}"
        yield f"fan-out of {each.via} {each.row}, {left} documents left"
    if model.fan_outs > FAN_OUTS:
        yield f"{counted(model.fan_outs, 'fan-out', 'fan-outs')} in all"


def _unfinished(run: Unfinished) -> str:
    why = run.error or "it is still running or was killed"
    rows = counted(run.compared, "row", "rows")
    return f"verify ({run.mode}), started {moment(run.started_at)}, has not finished, {rows} compared: {why}"
