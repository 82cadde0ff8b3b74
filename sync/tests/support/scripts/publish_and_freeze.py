"""Runs `sync publish`, which freezes itself after it has read the given number of rows and sent all but the last."""

import os
import signal
import sys
import time
from typing import Any

import django


def main(count: int) -> None:
    from django.core.management import call_command

    from sync.kafka import publisher

    encode, rows = publisher.encode, []

    def freeze(row: Any) -> Any:
        rows.append(row)
        if len(rows) == count:
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGSTOP)
        return encode(row)

    publisher.encode = freeze
    call_command("sync", "publish")


if __name__ == "__main__":
    django.setup()
    main(int(sys.argv[1]))
