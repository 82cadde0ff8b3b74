"""Delivers until standard input is closed. Prints the number of delivered keys."""

import sys
import threading
from contextlib import suppress

import django


def main() -> None:
    from sync.mongodb.errors import Unavailable
    from sync.outbox.relay import Relay

    relay = Relay(interval=0.02)
    threading.Thread(target=lambda: (sys.stdin.read(), relay.stop.set()), daemon=True).start()
    delivered = 0
    while not relay.stop.wait(relay.loop.interval):
        with suppress(Unavailable):  # on a busy machine; the next round retries
            delivered += sum(relay.drain().values())
    print(delivered)


if __name__ == "__main__":
    django.setup()
    main()
