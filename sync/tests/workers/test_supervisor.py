"""Components of one process: one that fails is called again, and all stop together."""

import logging
import threading

import pytest
from django.core.exceptions import ImproperlyConfigured

from sync.workers.shutdown import StopEvent
from sync.workers.supervisor import Component, running


@pytest.mark.parametrize(
    ("error", "line", "has_traceback"),
    [
        (RuntimeError("no such luck"), "luck: no such luck. Nothing is lost; retrying.", True),
        (ImproperlyConfigured("log_bin=OFF: add it."), "luck: log_bin=OFF: add it. Nothing is lost; retrying.", False),
    ],
)
def test_a_component_continues_after_a_failure_and_stops_with_the_block(
    caplog: pytest.LogCaptureFixture, error: Exception, line: str, *, has_traceback: bool
) -> None:
    done, calls = threading.Event(), [0, 0]

    def fails_twice() -> None:
        calls[0] += 1
        if calls[0] < 3:
            raise error
        done.set()

    def other() -> None:
        calls[1] += 1

    stop = StopEvent()
    with running(stop, Component("luck", fails_twice, 0.01), Component("other", other, 0.01)):
        assert done.wait(20)
    assert stop.is_set()
    assert calls[1] > 10, "it did not wait for the other one"
    [failure] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert failure.getMessage() == line
    assert bool(failure.exc_info) is has_traceback


def test_an_event_is_set_with_its_parent_and_not_the_other_way_round() -> None:
    parent = StopEvent()
    child, other = StopEvent(parent), StopEvent(parent)
    child.set()
    assert (child.is_set(), other.is_set(), parent.is_set()) == (True, False, False)
    heard: list[bool] = []
    thread = threading.Thread(target=lambda: heard.append(other.wait(20)))
    thread.start()
    parent.set()
    thread.join()
    assert heard == [True]
