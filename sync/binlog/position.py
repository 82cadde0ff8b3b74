"""Positions in the binary log, from which the follower continues."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pymysqlreplication.gtid import Gtid, GtidSet


@dataclass(frozen=True)
class Position:
    """The position after the last transaction read.

    gtids: the transactions read, in the server's notation; valid after a failover too. "" if MySQL has no GTIDs.
    file, offset: the same position in the log of one server.
    """

    file: str
    offset: int
    gtids: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.offset}"


@dataclass
class LogState:
    """The position of `sync follow-binlog`: the state of its checkpoint.

    server: the identity of the server and of its log file. file, offset, gtids: see Position.
    part: the last [model, key] recorded of the next transaction, if that is a large one.
    followed: the labels of the models followed up to this position.
    unplanned: the labels of models to rescan, for which no backfill is planned yet.
    prepared: the keys and rewritten models of each XA transaction that is prepared and not yet committed.
    """

    file: str
    offset: int
    gtids: str = ""
    server: str = ""
    part: list[str] = field(default_factory=list)
    followed: list[str] = field(default_factory=list)
    unplanned: dict[str, bool] = field(default_factory=dict)
    prepared: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> LogState:
        """Reads the result of `as_state`."""
        return cls(**{**state, "offset": int(state["offset"])})

    def as_state(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}

    def __str__(self) -> str:
        return f"{self.file}:{self.offset}"


class Gtids(Protocol):
    """A growing set of transactions."""

    def add(self, gtid: str) -> None: ...


class MariaDBGtids:
    """MariaDB: the last transaction of each domain, such as `0-1-100,1-1-7`."""

    def __init__(self, text: str) -> None:
        self.by_domain = {gtid.split("-")[0]: gtid for gtid in text.split(",") if gtid}

    def add(self, gtid: str) -> None:
        self.by_domain[gtid.split("-")[0]] = gtid

    def __str__(self) -> str:
        return ",".join(self.by_domain.values())


class MySQLGtids:
    """MySQL: all transactions, as intervals for each server, such as `3e11fa47-...:1-100`."""

    def __init__(self, text: str) -> None:
        self.gtids = GtidSet(text)

    def add(self, gtid: str) -> None:
        one = Gtid(gtid)
        if one not in self.gtids:
            self.gtids.merge_gtid(one)

    def __str__(self) -> str:
        return str(self.gtids)


class NoGtids:
    """MySQL with `gtid_mode=OFF`."""

    def add(self, gtid: str) -> None:
        pass

    def __str__(self) -> str:
        return ""
