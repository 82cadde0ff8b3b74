"""A transaction of another connection, which the test holds open while it does something else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from django.db import DatabaseError, connection, transaction


class Transaction(threading.Thread):
    """Acts in a transaction of its own connection, and commits when it is told to."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self.act = act
        self.error: Exception | None = None
        self.has_acted, self.may_commit = threading.Event(), threading.Event()

    def run(self) -> None:
        try:
            with transaction.atomic():
                self.act()
                self.has_acted.set()
                if not self.may_commit.wait(10):
                    self.error = TimeoutError("something waited for this transaction to end")
        except DatabaseError as error:
            self.error = error
        finally:
            connection.close()

    def __enter__(self) -> Transaction:
        if not self.is_alive():
            self.start()
        assert self.has_acted.wait(10)
        return self

    def __exit__(self, *error: Any) -> None:
        self.may_commit.set()
        self.join()
