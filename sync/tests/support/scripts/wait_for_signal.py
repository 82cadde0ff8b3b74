"""Waits for a signal in very short waits, so that the signal can arrive at any moment of one."""

from sync.workers.shutdown import StopEvent, stop_on_signals

if __name__ == "__main__":
    stop = StopEvent()
    stop_on_signals(stop)
    print("ready", flush=True)
    while not stop.wait(0.00001):
        pass
