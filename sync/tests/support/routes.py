"""Pauses, resumes and observes routes with `sync pause`, `sync resume` and `sync status`, in this process."""

import json
import time
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

QUIET = 2.0  # seconds without any delivery


def command(*arguments: str) -> tuple[int, str]:
    """Run a subcommand. Returns its exit status and output."""
    out = StringIO()
    try:
        call_command("sync", *arguments, stdout=out)
    except SystemExit as end:
        return int(str(end.code or 0)), out.getvalue()
    return 0, out.getvalue()


def pause(route: str) -> None:
    assert command("pause", route) == (0, f"{route} is paused.\nResume with: manage.py sync resume\n")


def resume(route: str) -> None:
    assert command("resume", route) == (0, f"{route} is resumed.\n")


def status_of(route: str) -> dict[str, Any]:
    """Return the route's entry in `sync status --json`; {} if it has none."""
    _, output = command("status", "--json")
    return next((each for each in json.loads(output)["routes"] if each["name"] == route), {})


def stays_as_it_is(read: Callable[[], Any], seconds: float = QUIET) -> None:
    before, end = read(), time.monotonic() + seconds
    while time.monotonic() < end:
        assert read() == before
        time.sleep(0.1)


def is_paused_and_falls_behind(route: str, pid: int) -> None:
    """Check that status shows the process as the route's worker, the route as paused, and a growing lag."""
    until(lambda: f"process {pid} on" in status_of(route).get("holder", "") and status_of(route)["lag"])
    first = status_of(route)
    assert (first["paused"], first["alive"]) == (True, True)
    until(lambda: status_of(route)["lag"] > first["lag"] + 1)
    code, output = command("status")
    assert code == 1
    assert f"{route}: paused; resume it: manage.py sync resume {route}" in output


def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition was not true within {seconds} s"
        time.sleep(0.1)


def once_is_refused(route: str, act: Callable[[], Any]) -> None:
    """Check that `act` fails on a paused route, with the command that resumes it."""
    with pytest.raises(CommandError, match=f"^{route} is paused. Resume it: manage.py sync resume {route}$") as refused:
        act()
    assert refused.value.returncode == 1
