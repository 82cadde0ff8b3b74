"""A place in the binary log: after which transactions to go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pymysqlreplication.gtid import Gtid, GtidSet


@dataclass(frozen=True)
class Position:
    """Behind the last transaction seen.

    gtids: the transactions seen, as the server writes them: survives a failover. Empty where MySQL has no GTIDs.
    file, offset: the same place in the log of one server.
    """

    file: str
    offset: int
    gtids: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.offset}"


class Gtids(Protocol):
    """A set of transactions that grows."""

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
    """MySQL: all transactions, as intervals of each server's, such as `3e11fa47-...:1-100`."""

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
