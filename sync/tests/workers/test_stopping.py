"""A signal stops a worker at whatever moment it comes."""

import random
import threading
import time
from contextlib import ExitStack

from sync.tests.support.processes import script
from sync.workers.shutdown import StopEvent


def test_a_signal_in_the_middle_of_a_wait_is_heard() -> None:
    """With a threading.Event, one process in twenty of these never ended."""
    chance = random.Random()
    with ExitStack() as stack:
        waiters = [stack.enter_context(script("sync.tests.support.scripts.wait_for_signal")) for _ in range(60)]
        for waiter in waiters:
            waiter.until_it_says("ready")
            time.sleep(chance.random() / 100)
            assert waiter.terminate(20) == 0


def test_all_that_wait_hear_it() -> None:
    stop, heard = StopEvent(), []
    threads = [threading.Thread(target=lambda: heard.append(stop.wait(20))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert not stop.wait(0.01)
    stop.set()
    for thread in threads:
        thread.join()
    assert heard == [True] * 3
    assert stop.is_set()
    assert stop.wait(0)
