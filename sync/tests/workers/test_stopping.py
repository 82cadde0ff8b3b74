"""A signal stops a worker at whatever moment it comes."""

import random
import signal
import subprocess
import sys
import threading
import time

from django.conf import settings

from sync.workers.shutdown import StopEvent

WAITER = """
from sync.workers.shutdown import Stop, stop_on_signals
stop = Stop()
stop_on_signals(stop)
print("ready", flush=True)
while not stop.wait(0.00001):
    pass
"""


def test_a_signal_in_the_middle_of_a_wait_is_heard() -> None:
    """With a threading.Event, one process in twenty of these never ended."""
    chance = random.Random()
    waiters = [
        subprocess.Popen([sys.executable, "-c", WAITER], cwd=settings.BASE_DIR, stdout=subprocess.PIPE)
        for _ in range(60)
    ]
    try:
        for waiter in waiters:
            assert waiter.stdout.readline() == b"ready\n"
            time.sleep(chance.random() / 100)
            waiter.send_signal(signal.SIGTERM)
            assert waiter.wait(20) == 0
    finally:
        for waiter in waiters:
            waiter.kill()
            waiter.stdout.close()
            waiter.wait()


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
