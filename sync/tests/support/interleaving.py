"""Runs code between two steps of the delivery protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sync.outbox import mongo_writer


def between_row_and_write(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> None:
    """Call `act` once, after the rows are read and before the documents are written."""
    send = mongo_writer.Writes.send
    done = []

    def interrupted(batch: Any, model: Any, majority: bool) -> None:
        if not done:
            done.append(True)
            act()
        send(batch, model, majority)

    monkeypatch.setattr(mongo_writer.Writes, "send", interrupted)
