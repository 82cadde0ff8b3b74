"""A relay with one thread and nothing beside it. Its argument is the batch, unless it is that of the settings."""

import sys

import django


def main(batch: int | None) -> None:
    from sync.outbox.relay import Relay

    Relay(batch=batch, interval=0.01).run()


if __name__ == "__main__":
    django.setup()
    main(int(sys.argv[1]) if sys.argv[1:] else None)
