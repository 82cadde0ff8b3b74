"""A signal stops a worker whenever it arrives."""

import random
import threading
import time
from contextlib import ExitStack

from sync.tests.support.processes import script
from sync.workers.shutdown import StopEvent


def test_a_signal_during_a_wait_stops_the_process() -> None:
    """With a threading.Event, 1 process in 20 never exited."""
    chance = random.Random()
    with ExitStack() as stack:
        waiters = [stack.enter_context(script("sync.tests.support.scripts.wait_for_signal")) for _ in range(60)]
        for waiter in waiters:
            waiter.until_it_says("ready")
            time.sleep(chance.random() / 100)
            assert waiter.terminate(20) == 0


def test_every_waiting_thread_is_woken() -> None:
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
