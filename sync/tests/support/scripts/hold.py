"""Takes the lease of the given route, and keeps it until it is killed."""

import sys
import time

import django


def main(route: str) -> None:
    from sync.workers.checkpoint import TableCheckpoint

    assert TableCheckpoint(route, "a route", "default").take() is None
    time.sleep(600)


if __name__ == "__main__":
    django.setup()
    main(sys.argv[1])
