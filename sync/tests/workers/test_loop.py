"""The main loop: it logs an outage and its end once each, its pauses grow, and a stop interrupts every wait at once."""

import logging
import threading
import time
from collections.abc import Iterable
from typing import Any

import pymongo.errors
import pytest
from django.db import OperationalError

from sync.mongodb.errors import Unavailable
from sync.workers.lease import LeaseLost, Paused
from sync.workers.loop import LONGEST_PAUSE, SHORTEST_PAUSE, Loop
from sync.workers.shutdown import StopEvent

pytestmark = pytest.mark.quick

LOGGER = logging.getLogger("sync.tests.loop")
OUTAGE = Unavailable("MongoDB does not respond")


class FakeStop(StopEvent):
    """Records the waits without waiting. A test sets it after the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, seconds: float | None = None, *sockets: Any) -> bool:
        self.waits.append(seconds or 0.0)
        return self.is_set()


def run(outcomes: Iterable[Any], **options: Any) -> tuple[Loop, list[float]]:
    """Runs a loop whose steps raise or return these outcomes. Returns the loop and the waits between the steps."""
    stop = FakeStop()
    options.setdefault("recover", lambda error: None)
    loop = Loop(stop, LOGGER, **options)
    left = list(outcomes)

    def step() -> Any:
        outcome = left.pop(0)
        if not left:
            stop.set()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    loop.run(step)
    assert left == []
    return loop, stop.waits


@pytest.fixture
def logged(caplog: Any) -> Any:
    caplog.set_level(logging.INFO, LOGGER.name)
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records if record.name == LOGGER.name]


def test_an_outage_and_its_end_are_each_logged_once(logged: Any) -> None:
    loop, _ = run([None, OUTAGE, OUTAGE, OUTAGE, None, None], prefix="eu: ")
    assert logged() == [
        ("ERROR", "eu: MongoDB does not respond. Nothing is lost; retrying."),
        ("INFO", "eu: Working again."),
    ]
    assert loop.trouble == ""


def test_another_reason_and_the_next_outage_are_logged_as_well(logged: Any) -> None:
    run([OUTAGE, Unavailable("MySQL does not respond"), None, OUTAGE])
    assert [line.partition(".")[0] for _, line in logged()] == [
        "MongoDB does not respond", "MySQL does not respond", "Working again", "MongoDB does not respond",
    ]  # fmt: skip


def test_an_outage_has_no_traceback_and_a_reason_of_either_driver(caplog: Any) -> None:
    loop, _ = run([OperationalError(2013, "Lost connection")])
    assert "Lost connection" in loop.trouble
    loop, _ = run([pymongo.errors.AutoReconnect("closed")])
    assert "MongoDB" in loop.trouble
    assert [record.exc_info for record in caplog.records] == [None, None]


def test_trouble_has_the_reason_for_waiting(logged: Any) -> None:
    loop, _ = run([None, OUTAGE])
    assert loop.trouble == "MongoDB does not respond"


def test_pauses_grow_to_the_longest_and_start_again_after_a_step_that_works() -> None:
    _, waits = run([*[OUTAGE] * 8, None, OUTAGE, OUTAGE])
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_PAUSE, LONGEST_PAUSE, SHORTEST_PAUSE, 2 * SHORTEST_PAUSE]


def test_a_step_that_works_and_soon_fails_again_keeps_the_longer_pauses(logged: Any) -> None:
    stop = FakeStop()
    loop = Loop(stop, LOGGER, recover=lambda error: None)

    def step() -> None:
        loop.works()
        if len(stop.waits) == 3:
            stop.set()
        raise OUTAGE

    loop.run(step)
    assert stop.waits == [0.5, 1.0, 2.0, 4.0]


def test_a_step_that_worked_for_longer_than_the_pause_resets_the_pauses(monkeypatch: Any) -> None:
    now = [0.0]
    monkeypatch.setattr("sync.workers.loop.time.monotonic", lambda: now[0])
    stop = FakeStop()
    loop = Loop(stop, LOGGER, recover=lambda error: None)

    def step() -> None:
        if len(stop.waits) == 3:
            now[0] += 60
            loop.works()
            stop.set()
        raise OUTAGE

    loop.run(step)
    assert stop.waits == [0.5, 1.0, 2.0, SHORTEST_PAUSE]


def test_a_step_that_returns_false_does_not_end_an_outage(logged: Any) -> None:
    loop, waits = run([OUTAGE, False, OUTAGE])
    assert len(logged()) == 1
    assert loop.trouble == "MongoDB does not respond"
    assert waits == [SHORTEST_PAUSE, 2 * SHORTEST_PAUSE]


def test_the_loop_waits_for_the_interval_between_steps() -> None:
    assert run([None, None, None], interval=7.0)[1] == [7.0] * 3
    assert run([None, None])[1] == []


def test_recover_is_called_before_the_pause() -> None:
    seen: list[Exception] = []
    run([OUTAGE, None], recover=seen.append)
    assert seen == [OUTAGE]


@pytest.mark.parametrize("error", [KeyError("a fault"), LeaseLost("another process took over")])
def test_an_error_that_is_not_an_outage_stops_the_loop(error: Exception) -> None:
    with pytest.raises(type(error)):
        run([None, error, None])


def test_an_endless_loop_retries_after_any_error_and_logs_its_traceback(caplog: Any) -> None:
    run([KeyError("a fault"), OUTAGE, None], endless=True)
    with_traceback = [record.exc_info is not None for record in caplog.records if record.levelname == "ERROR"]
    assert with_traceback == [True, False]


def test_an_error_with_data_loss_is_not_logged_as_nothing_is_lost(logged: Any) -> None:
    error = Unavailable("The topic is gone")
    error.is_loss = True  # type: ignore[attr-defined]
    run([error])
    assert logged() == [("ERROR", "The topic is gone. Waiting until it is back.")]


def test_a_paused_route_runs_no_step_until_it_is_resumed(logged: Any) -> None:
    stop, answers, steps = FakeStop(), [False, True, True, True, False], []
    loop = Loop(stop, LOGGER, prefix="pull: ")
    troubles = []

    def is_paused() -> bool:
        troubles.append(loop.trouble)
        return answers.pop(0)

    def step() -> None:
        steps.append(len(answers))
        if not answers:
            stop.set()

    loop.run(step, is_paused)
    assert steps == [4, 0]
    assert troubles == ["", "", "paused", "paused", "paused"]
    assert logged() == [("INFO", "pull: Paused."), ("INFO", "pull: Working again.")]


def test_a_step_that_raises_paused_is_not_an_outage(logged: Any) -> None:
    recovered: list[Exception] = []
    loop, waits = run([Paused("publish"), None], recover=recovered.append)
    assert (loop.trouble, waits, recovered, logged()) == ("", [], [], [])


def test_a_failing_pause_check_counts_as_an_outage(logged: Any) -> None:
    stop, steps = FakeStop(), []

    def is_paused() -> bool:
        if not stop.waits:
            raise OperationalError(2013, "Lost connection")
        return False

    def step() -> None:
        steps.append(1)
        stop.set()

    Loop(stop, LOGGER, recover=lambda error: None).run(step, is_paused)
    assert (stop.waits, steps) == ([SHORTEST_PAUSE], [1])
    assert [level for level, _ in logged()] == ["ERROR", "INFO"]


@pytest.mark.parametrize("state", ["an outage", "a pause", "between two steps"])
def test_a_stop_interrupts_every_wait_at_once(state: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("sync.workers.loop.LOOK", 600.0)
    stop, begun = StopEvent(), threading.Event()
    loop = Loop(stop, LOGGER, interval=600.0, recover=lambda error: None)

    def step() -> None:
        begun.set()
        if state == "an outage":
            loop.pause = 600.0
            raise OUTAGE

    def is_paused() -> bool:
        begun.set()
        return state == "a pause"

    thread = threading.Thread(target=loop.run, args=(step, is_paused))
    thread.start()
    assert begun.wait(10)
    time.sleep(0.1)  # until the loop waits
    assert thread.is_alive()
    began = time.monotonic()
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert time.monotonic() - began < 5
