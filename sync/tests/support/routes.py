"""A route as an operator sees it: `sync pause`, `sync resume` and `sync status`, in this process."""

import json
import time
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

QUIET = 3.0  # seconds for which nothing may arrive


def command(*arguments: str) -> tuple[int, str]:
    """Exit status and output of a subcommand."""
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
    """What `sync status --json` says of it; {} where it does not name it."""
    _, said = command("status", "--json")
    return next((each for each in json.loads(said)["routes"] if each["name"] == route), {})


def stays_as_it_is(read: Callable[[], Any], seconds: float = QUIET) -> None:
    before, end = read(), time.monotonic() + seconds
    while time.monotonic() < end:
        assert read() == before
        time.sleep(0.1)


def is_paused_and_falls_behind(route: str, pid: int) -> None:
    """Status says that this process works on the route, that it is paused, and lags more and more."""
    until(lambda: f"process {pid} on" in status_of(route).get("holder", "") and status_of(route)["lag"])
    first = status_of(route)
    assert (first["paused"], first["alive"]) == (True, True)
    until(lambda: status_of(route)["lag"] > first["lag"] + 1)
    code, said = command("status")
    assert code == 1
    assert f"{route}: paused; resume it: manage.py sync resume {route}" in said


def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def once_is_refused(route: str, act: Callable[[], Any]) -> None:
    """A single run on a paused route fails, and says how to resume it."""
    with pytest.raises(CommandError, match=f"^{route} is paused. Resume it: manage.py sync resume {route}$") as refused:
        act()
    assert refused.value.returncode == 1
