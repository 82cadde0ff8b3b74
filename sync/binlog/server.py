"""The MySQL server whose log is followed: checks its settings and the user's privileges, and finds positions."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError
from django.db import connections

from sync.binlog.position import Gtids, MariaDBGtids, MySQLGtids, NoGtids, Position
from sync.core import mysql

DENIED = {1044, 1045, 1142, 1227}  # error numbers: a privilege is missing
WANTED = {
    "log_bin": "ON",
    "binlog_format": "ROW",
    "binlog_row_metadata": "FULL",  # otherwise columns have no names
    "binlog_order_commits": "ON",  # MySQL only; MariaDB always does. sync/binlog/__init__.py explains why
}


class Server:
    """The server of a Django connection, queried over that connection."""

    def __init__(self, using: str) -> None:
        connection: Any = connections[using]
        if connection.vendor != "mysql":
            raise ImproperlyConfigured(
                f"Only MySQL and MariaDB have a binary log to follow; this database is {connection.display_name}."
            )
        self.using = using
        self.connection = connection
        self.is_mariadb: bool = connection.mysql_is_mariadb
        self.database = str(connection.settings_dict["NAME"])

    def rows(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            return list(cursor.fetchall())

    def _variables(self, *names: str) -> dict[str, str]:
        places = ", ".join(["%s"] * len(names))
        return {
            name.lower(): value
            for name, value in self.rows(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({places})", *names)
        }

    def require(self) -> None:
        """Raises ImproperlyConfigured, with the fix, if a setting would hide writes from the follower."""
        found = self._variables(*WANTED)
        for name, wanted in WANTED.items():
            value = found.get(name, wanted)
            if value.upper() not in (wanted, {"ON": "1"}.get(wanted)):
                raise ImproperlyConfigured(f"The server has {name}={value}: {self._fix(name, wanted)}")
        _, _, only, ignored = self._log_status()[:4]
        database = self.database.lower()
        if (only and database not in only.lower().split(",")) or database in ignored.lower().split(","):
            raise ImproperlyConfigured(
                f"The server leaves {self.database} out of its binary log: take binlog_do_db and binlog_ignore_db "
                "out of its configuration and restart it."
            )

    def _fix(self, name: str, wanted: str) -> str:
        if name == "log_bin":
            return "add log_bin to its configuration and restart it."
        if self.is_mariadb:
            return f"run SET GLOBAL {name} = {wanted}; and add {name} = {wanted} to its configuration."
        return f"run SET PERSIST {name} = {wanted};"

    def grants(self) -> str:
        """Returns the statement that grants the privileges that the follower needs."""
        [(user,)] = self.rows("SELECT CURRENT_USER()")
        name, host = user.rsplit("@", 1)
        right = "BINLOG MONITOR" if self.is_mariadb else "REPLICATION CLIENT"
        return f"GRANT REPLICATION SLAVE, {right} ON *.* TO '{name}'@'{host}';"

    def _log_status(self) -> tuple[Any, ...]:
        """Returns file, offset, databases logged, databases not logged."""
        return self._privileged("SHOW MASTER STATUS" if self.is_mariadb else "SHOW BINARY LOG STATUS")[0]

    def _privileged(self, sql: str) -> list[tuple[Any, ...]]:
        try:
            return self.rows(sql)
        except DatabaseError as error:
            if error.args[0] in DENIED:
                raise self.denied() from error
            raise

    def denied(self) -> ImproperlyConfigured:
        """Returns the exception for a missing privilege."""
        return ImproperlyConfigured(f"The user may not follow the binary log: run {self.grants()}")

    @property
    def identity(self) -> str:
        """The server's unique id. On MariaDB two servers may have the same id: see `file_created`."""
        variable = "server_id" if self.is_mariadb else "server_uuid"
        return str(self._variables(variable)[variable])

    def position(self) -> Position:
        """Returns the end of the log."""
        if self.is_mariadb:
            [(gtids,)] = self.rows("SELECT @@GLOBAL.gtid_binlog_pos")
        else:
            [(gtids,)] = self.rows("SELECT IF(@@GLOBAL.gtid_mode = 'ON', @@GLOBAL.gtid_executed, '')")
            gtids = gtids.replace("\n", "")
            if any(len(one.split(":")) > 1 and one.split(":")[1][:1].isalpha() for one in gtids.split(",")):
                gtids = ""  # the library cannot read tagged GTIDs: use file and offset instead
        return Position(*self.end(), gtids)

    def gtids(self, text: str) -> Gtids:
        """Parses a GTID set. On MySQL, an empty `text` means that positions are file and offset only."""
        if self.is_mariadb:
            return MariaDBGtids(text)
        return MySQLGtids(text) if text else NoGtids()

    def lacks(self, gtids: str) -> bool:
        """Returns whether the server lacks some of these transactions, so that its log does not continue from them."""
        if not gtids:
            return False
        if not self.is_mariadb:
            return self.rows("SELECT GTID_SUBSET(%s, @@GLOBAL.gtid_executed)", gtids) != [(1,)]
        [seen] = self.rows("SELECT @@GLOBAL.gtid_binlog_state, @@GLOBAL.gtid_slave_pos")
        last: dict[str, int] = {}
        for gtid in ",".join(seen).split(","):
            domain, _, number = gtid.partition("-")
            last[domain] = max(last.get(domain, 0), int(number.rpartition("-")[2] or 0))
        return any(int(gtid.split("-")[2]) > last.get(gtid.split("-")[0], 0) for gtid in gtids.split(","))

    def end(self) -> tuple[str, int]:
        """Returns file and offset of the end of the log."""
        file, offset = self._log_status()[:2]
        return str(file), int(offset)

    def size(self, file: str) -> int:
        """Returns the size of a log file in bytes; 0 if there is no such file."""
        return next((int(row[1]) for row in self._privileged("SHOW BINARY LOGS") if row[0] == file), 0)

    def files(self) -> list[str]:
        """Returns the names of the log files that the server still has, oldest first."""
        return [str(row[0]) for row in self._privileged("SHOW BINARY LOGS")]

    def kept_for(self) -> float:
        """Returns the seconds after which the server purges a log file; 0 if it never does by itself."""
        return float(self._variables("binlog_expire_logs_seconds").get("binlog_expire_logs_seconds") or 0)

    def danger(self, file: str, lag: float) -> str:
        """Returns why the server may soon purge the position; "" if it is safe. lag: in seconds."""
        files = self.files()
        if len(files) > 1 and file == files[0]:
            return f"{file} is the oldest log file and not read yet: the next purge will lose changes"
        kept = self.kept_for()
        if kept and lag > kept / 2:
            return f"the follower is {lag:.0f} s behind, and the server keeps logs for {kept:.0f} s"
        return ""

    def read_as_replica(self) -> dict[str, Any]:
        """Returns the connection settings for the driver, taken from Django's connection."""
        settings = self.connection.get_connection_params()
        wanted: dict[str, Any] = {
            "host": settings.get("host", "localhost"),
            "port": settings.get("port", 3306),
            "unix_socket": settings.get("unix_socket"),
            "user": settings["user"],
            "password": settings.get("password", ""),
            "charset": "utf8mb4",
            "connect_timeout": 5,
            "read_timeout": 10,  # heartbeats are more frequent, so a silent connection is dead
            "ssl_disabled": settings.get("ssl_mode") == "DISABLED",
            "ssl": mysql.tls_context(settings),
        }
        return {name: value for name, value in wanted.items() if value}
