"""Runs a relay with one thread and no periodic tasks. Optional argument: the batch size; default: SYNC_BATCH."""

import sys

import django


def main(batch: int | None) -> None:
    from sync.outbox.relay import Relay

    Relay(batch=batch, interval=0.01).run()


if __name__ == "__main__":
    django.setup()
    main(int(sys.argv[1]) if sys.argv[1:] else None)
