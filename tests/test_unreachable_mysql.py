"""When MySQL is unreachable, read-only or full, each command prints one line, pages say so, and the portal recovers on
its own. Both drivers use TLS as DATABASE_URL says."""

import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import environ
import pymysql
import pytest
import trustme
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError
from django.db import OperationalError, connection
from django.db.backends.mysql.base import DatabaseWrapper
from django.test import Client
from pymongo.database import Database

from accounts.models import User
from analytics_site.database_url import mysql_options
from finance.models import Account
from sync.core import mysql
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.processes import finished, manage
from sync.tests.support.waiting import wait_for
from tests.servers import SERVERS, MariaDB, free_port

pytestmark = [pytest.mark.django_db(transaction=True)]


class TLSMariaDB(MariaDB):
    """Its certificate is only for the host name localhost, and all its tables share 20 MB."""

    def start(self) -> None:
        self.certificates = self.folder.parent / "mysql-certificates"
        self.certificates.mkdir()
        ca, other = trustme.CA(), trustme.CA()
        ca.cert_pem.write_to_path(self.file("ca"))
        other.cert_pem.write_to_path(self.file("other_ca"))
        for name, host in (("server", "localhost"), ("client", "client.example.org")):
            issued = ca.issue_cert(host)
            issued.private_key_pem.write_to_path(self.file(f"{name}_key"))
            issued.cert_chain_pems[0].write_to_path(self.file(name))
        Path(self.file("junk")).write_text("junk")
        super().start()

    def _options(self) -> list[str]:
        files = {"ca": "ca", "cert": "server", "key": "server_key"}
        return [
            *super()._options(), *(f"--ssl-{name}={self.file(file)}" for name, file in files.items()),
            "--innodb-file-per-table=0", "--innodb-data-file-path=ibdata1:20M",
        ]  # fmt: skip

    def file(self, name: str) -> str:
        return str(self.certificates / f"{name}.pem")

    def address(self, user: str = "", password: str = "", database: str = "analytics", **options: str) -> str:
        """A URL for TCP whose host the certificate does not name. Options give certificate files by short names."""
        files = {name: self.file(value) for name, value in options.items() if name in ("ssl_ca", "ssl_cert", "ssl_key")}
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in (options | files).items())
        login = f"{user or self.USER}:{password or self.PASSWORD}"
        return f"mysql://{login}@127.0.0.1:{self.port}/{database}?{query}"


@pytest.fixture(scope="module")
def tls() -> Iterator[TLSMariaDB]:
    if SERVERS.mariadb is None:
        pytest.skip("this run is not on MariaDB")
    server = TLSMariaDB(SERVERS.place("mariadb-tls"))
    server.start()
    for account in (
        "locked@'%' IDENTIFIED BY 'x' ACCOUNT LOCK",
        "expired@'%' IDENTIFIED BY 'x' PASSWORD EXPIRE",
        "few@'%' IDENTIFIED BY 'x' WITH MAX_USER_CONNECTIONS 1",
        "certified@'%' IDENTIFIED BY 'x' REQUIRE X509",
        "reader@'%' IDENTIFIED BY 'x'",
    ):
        server.sql(f"CREATE USER {account}")
    server.sql(
        "GRANT ALL ON analytics.* TO expired@'%', few@'%', certified@'%'; GRANT SELECT ON analytics.* TO reader@'%'"
    )
    yield server
    server.stop()


def database(url: str) -> dict[str, Any]:
    return environ.Env.db_url_config(url) | {
        "OPTIONS": {"connect_timeout": 5} | mysql_options(url),
        "TIME_ZONE": None, "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": False, "AUTOCOMMIT": True, "ATOMIC_REQUESTS": False, "TEST": {},
    }  # fmt: skip


def connect(url: str) -> DatabaseWrapper:
    """Connects as Django does with this DATABASE_URL."""
    wrapper = DatabaseWrapper(database(url), "other")
    wrapper.inc_thread_sharing()
    wrapper.ensure_connection()
    return wrapper


def cipher(url: str) -> str:
    with connect(url).cursor() as cursor:
        cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
        return str(cursor.fetchone()[1])


def connect_as_follower(url: str) -> str:
    """Connects as the binary log follower does; the cipher."""
    settings = database(url)
    names = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD"}
    context = mysql.tls_context(settings["OPTIONS"])
    with (
        pymysql.connect(**{name: settings[key] for name, key in names.items()}, ssl=context) as client,
        client.cursor() as cursor,
    ):
        cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
        return str(cursor.fetchone()[1])  # type: ignore[index]


def line_for(url: str, monkeypatch: pytest.MonkeyPatch, settings: Any) -> str:
    monkeypatch.setitem(settings.DATABASES, "default", database(url))
    with pytest.raises(DatabaseError) as error:
        connect(url).cursor().execute("CREATE TABLE made (id INT)")
    assert mysql.is_outage(error.value)
    line = mysql.reason(error.value)
    assert "\n" not in line
    return line


# --- TLS ------------------------------------------------------------------------------------------------------------

BY_ADDRESS = [  # the address is not the certificate's host name
    ({"ssl_mode": "REQUIRED"}, True),
    ({"ssl_mode": "required"}, True),
    ({"ssl_ca": "ca", "ssl_mode": "REQUIRED"}, True),
    ({"ssl_ca": "ca", "ssl_mode": "VERIFY_IDENTITY"}, False),
    ({"ssl_ca": "other_ca"}, False),
    ({"ssl_ca": "other_ca", "ssl_mode": "VERIFY_CA"}, False),
]


@pytest.mark.parametrize(("options", "works"), BY_ADDRESS)
def test_both_drivers_encrypt_and_verify_as_database_url_says(
    options: dict[str, str], works: bool, tls: TLSMariaDB
) -> None:
    url = tls.address(**options)
    if works:
        assert cipher(url)
        assert connect_as_follower(url)
    else:
        with pytest.raises(OperationalError):
            cipher(url)
        with pytest.raises(pymysql.OperationalError):
            connect_as_follower(url)


def test_the_client_certificate_is_presented(tls: TLSMariaDB) -> None:
    with pytest.raises(OperationalError, match="Access denied"):
        connect(tls.address("certified", "x", ssl_mode="REQUIRED"))
    url = tls.address("certified", "x", ssl_mode="REQUIRED", ssl_cert="client", ssl_key="client_key")
    assert cipher(url)
    assert connect_as_follower(url)


@pytest.mark.parametrize(
    "options", [{"ssl_mode": "REQUIRED"}, {"ssl_ca": "ca"}, {"ssl_cert": "client", "ssl_key": "client_key"}]
)
def test_a_server_without_tls_is_refused_if_database_url_demands_tls(
    options: dict[str, str], tls: TLSMariaDB, mariadb: MariaDB, monkeypatch: Any, settings: Any
) -> None:
    """MariaDB's client library itself would continue in plain text."""
    url = tls.address(**options).replace(f":{tls.port}/", f":{mariadb.port}/")
    assert line_for(url, monkeypatch, settings).startswith("No TLS connection to MySQL: ")
    with pytest.raises(pymysql.OperationalError):
        connect_as_follower(url)


FILES = [
    ({"ssl_ca": "nowhere"}, "{}/nowhere.pem (ssl_ca) cannot be read: No such file or directory"),
    ({"ssl_ca": "junk"}, "{}/junk.pem (ssl_ca) does not hold PEM data"),
    ({"ssl_cert": "nowhere", "ssl_key": "client_key"}, "{}/nowhere.pem (ssl_cert) cannot be read: No such file"),
    ({"ssl_cert": "client", "ssl_key": "nowhere"}, "{}/nowhere.pem (ssl_key) cannot be read: No such file"),
    ({"ssl_cert": "client", "ssl_key": "server_key"}, "{}/client.pem (ssl_cert) does not hold PEM data"),
]


@pytest.mark.parametrize(("options", "words"), FILES)
def test_an_unusable_certificate_file_is_named(
    options: dict[str, str], words: str, tls: TLSMariaDB, monkeypatch: Any, settings: Any
) -> None:
    line = line_for(tls.address(**options), monkeypatch, settings)
    assert line.startswith(f"No TLS connection to MySQL: the file {words.format(tls.certificates)}"), line
    with pytest.raises(OperationalError, match=re.escape(words.format(tls.certificates))):
        connect_as_follower(tls.address(**options))


MISTAKES = [
    ("ssl_mode=ALWAYS", "ssl_mode=ALWAYS is not one of DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY"),
    ("ssl_mode=", "the option ssl_mode has no value"),
    ("ssl_verify_cert=true", "unknown option ssl_verify_cert (use ssl_mode)"),
    ("useSSL=true", "unknown option useSSL (use ssl_mode)"),
    ("ssl_key=/key.pem", "ssl_key needs ssl_cert"),
    ("ssl_mode=DISABLED&ssl_ca=/ca.pem", "ssl_mode=DISABLED contradicts the other ssl_ options"),
    ("connect_timeout=soon", "connect_timeout=soon is not a number of seconds"),
    ("connect_timeout=%C2%B2", "connect_timeout=² is not a number of seconds"),
    ("read_timeout=99999999999999999999", "read_timeout=99999999999999999999 is not a number of seconds"),
    ("charset=latin1", "charset=latin1 would alter"),
    ("charset=utf8", "charset=utf8 would alter"),
    ("tiemout=3", "unknown option tiemout"),
]


@pytest.mark.parametrize(("query", "words"), MISTAKES)
def test_a_mistake_in_the_address_is_named(query: str, words: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=re.escape(f"DATABASE_URL: {words}")):
        mysql_options(f"mysql://u:p@h/n?{query}")


def test_options_are_read_in_either_spelling_and_percent_encoded() -> None:
    query = "ssl-ca=%2Fa%20b%2Bc.pem&ssl-mode=verify_identity&read_timeout=7&CONN_MAX_AGE=3"
    assert mysql_options(f"mysql://u:p%40@h/n?{query}") == {
        "ssl": {"ca": "/a b+c.pem"}, "ssl_mode": "VERIFY_IDENTITY", "read_timeout": 7,
    }  # fmt: skip


# --- unreachable -----------------------------------------------------------------------------------------------------

LOGINS = [
    ({"password": "wrong"}, "MySQL rejects the login (Access denied for user 'portal'@"),
    ({"user": "locked", "password": "x"}, "MySQL rejects the login (Access denied, this account is locked)"),
    ({"user": "expired", "password": "x"}, "MySQL requires a new password ("),
    ({"database": "nowhere"}, "MySQL has no such database, or the user has no right to it (Access denied for user"),
    ({"user": "reader", "password": "x"}, "MySQL has no such database, or the user has no right to it (CREATE command"),
]


@pytest.mark.parametrize(("login", "words"), LOGINS)
def test_a_rejected_login_is_reported(
    login: dict[str, str], words: str, tls: TLSMariaDB, monkeypatch: Any, settings: Any
) -> None:
    assert line_for(tls.address(**login), monkeypatch, settings).startswith(words)


def test_a_server_that_requires_tls_is_reported(tls: TLSMariaDB, monkeypatch: Any, settings: Any) -> None:
    tls.sql("SET GLOBAL require_secure_transport=ON")
    try:
        assert "requires TLS" in line_for(tls.address(), monkeypatch, settings)
        assert cipher(tls.address(ssl_mode="REQUIRED"))
    finally:
        tls.sql("SET GLOBAL require_secure_transport=OFF")


def test_too_many_connections_are_reported(tls: TLSMariaDB, monkeypatch: Any, settings: Any) -> None:
    only = connect(tls.address("few", "x"))
    line = line_for(tls.address("few", "x"), monkeypatch, settings)
    assert line.startswith("MySQL has too many connections (User 'few' has exceeded")
    only.close()
    tls.sql("SET GLOBAL max_connections=10")
    open_ones = []
    try:
        with pytest.raises(OperationalError) as error:
            open_ones.extend(connect(tls.address()) for _ in range(20))
        assert mysql.reason(error.value).startswith("MySQL has too many connections (Too many connections)")
    finally:
        for one in open_ones:
            one.close()
        tls.sql("SET GLOBAL max_connections=100")


def test_a_full_disk_is_reported(tls: TLSMariaDB) -> None:
    with connect(tls.address()).cursor() as cursor:
        cursor.execute("CREATE TABLE full (data LONGBLOB)")
        with pytest.raises(DatabaseError) as error:
            cursor.executemany("INSERT INTO full VALUES (REPEAT(%s, 1000000))", [["x"]] * 100)
        assert mysql.is_outage(error.value)
        assert mysql.reason(error.value).startswith("MySQL's disk or table is full (The table 'full' is full)")


@pytest.mark.parametrize(
    ("host", "words"),
    [("127.0.0.1:1", "MySQL does not respond ("), ("nowhere.invalid", "MySQL's host name cannot be resolved (")],
)
def test_an_unreachable_server_is_reported(
    host: str, words: str, monkeypatch: Any, settings: Any, mariadb: MariaDB
) -> None:
    assert line_for(f"mysql://u:secret@{host}/n", monkeypatch, settings).startswith(words)


COMMANDS = [
    ["migrate"], ["clearsessions"], ["check", "--database", "default"], ["sync", "relay", "--once"], ["sync", "status"],
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=[" ".join(command) for command in COMMANDS])
def test_every_command_reports_the_outage_in_one_line(command: list[str]) -> None:
    url = f"mysql://nobody:secret@127.0.0.1:{free_port()}/nothing"
    done = finished(manage(*command, DATABASE_URL=url))
    assert done.status == 2, done.stderr
    line = done.stderr.removeprefix("CommandError: ")
    assert line.startswith("MySQL does not respond (")
    assert line.count("\n") == 1
    assert "secret" not in line


def test_the_traceback_option_shows_the_traceback() -> None:
    url = f"mysql://nobody:secret@127.0.0.1:{free_port()}/nothing"
    assert "Traceback" in finished(manage("clearsessions", "--traceback", DATABASE_URL=url)).stderr


UNMIGRATED = [["clearsessions"], ["sync", "status"], ["sync", "retry"], ["sync", "relay", "--once"], ["audit_prune"]]


@pytest.mark.parametrize("command", UNMIGRATED, ids=[" ".join(command) for command in UNMIGRATED])
def test_missing_tables_are_reported_in_one_line(command: list[str], mariadb: MariaDB) -> None:
    mariadb.sql("CREATE DATABASE IF NOT EXISTS analytics_unmigrated")
    done = finished(manage(*command, DATABASE_URL=mariadb.url("analytics_unmigrated")))
    assert (done.status, done.stderr.count("\n")) == (2, 1), done.stderr
    line = done.stderr.removeprefix("CommandError: ")
    assert line.startswith("The database has the tables of another version (")
    assert line.rstrip(".\n").endswith("run manage.py migrate")


def test_a_settings_mistake_is_reported_in_one_line() -> None:
    done = finished(manage("clearsessions", DATABASE_URL="mysql://u:p@h/n?ssl_mode=ALWAYS"))
    assert (done.status, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("DATABASE_URL: ssl_mode=ALWAYS is not one of")


# --- what users see, and recovery -------------------------------------------------------------------------------------


def test_a_read_only_database_gives_a_page_that_says_to_try_again(
    mongo: Database, mariadb: MariaDB, caplog: Any, settings: Any
) -> None:
    visitor = Client(raise_request_exception=False)
    visitor.force_login(User.objects.create_superuser("root", "root@example.org", "a long password"))
    mariadb.sql("SET GLOBAL read_only=ON")
    try:
        answer = visitor.post("/logout/")
    finally:
        mariadb.sql("SET GLOBAL read_only=OFF")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "60"
    assert "Nothing was saved just now" in answer.content.decode()
    assert any(record.exc_info for record in caplog.records), "the traceback is in the log"
    assert any(record.getMessage().startswith("MySQL accepts no writes (") for record in caplog.records)
    assert visitor.post("/logout/").status_code == 302


def test_an_unreachable_database_gives_the_same_page_until_it_recovers(mongo: Database, mariadb: MariaDB) -> None:
    visitor = Client(raise_request_exception=False)
    visitor.force_login(User.objects.create_superuser("root", "root@example.org", "a long password"))
    mariadb.kill()
    try:
        connection.close()
        answer = visitor.get("/finance/accounts/")
    finally:
        mariadb.start()
    assert answer.status_code == 503
    assert "The database is unreachable" in answer.content.decode()
    connection.close()
    assert visitor.get("/finance/accounts/").status_code == 200


def test_a_bug_in_the_portal_is_still_an_error_500(monkeypatch: Any) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise OperationalError(1064, "You have an error in your SQL syntax")

    monkeypatch.setattr("accounts.views.render", broken, raising=False)
    monkeypatch.setattr("analytics_site.views.render", broken)
    assert Client(raise_request_exception=False).get("/help/").status_code == 500


def test_a_relay_waits_for_a_read_only_database_and_continues(
    mongo: Database, mariadb: MariaDB, settings: Any, caplog: Any
) -> None:
    settings.SYNC_INLINE = False
    Account.objects.create(account_id=1, limit=1)
    mariadb.sql("SET GLOBAL read_only=ON")
    caplog.set_level(logging.INFO, "sync")
    relay = Relay(interval=0.05)
    thread = threading.Thread(target=relay.run)
    thread.start()
    try:
        wait_for(lambda: relay.trouble)
        time.sleep(1.5)  # time for another attempt
        mariadb.sql("SET GLOBAL read_only=OFF")
        wait_for(lambda: not Change.objects.exists())
    finally:
        mariadb.sql("SET GLOBAL read_only=OFF")
        relay.stop.set()
        thread.join()
    lines = [record.getMessage() for record in caplog.records if record.name == "sync.outbox.relay"]
    assert len([line for line in lines if line.startswith("MySQL accepts no writes (")]) == 1, lines
    assert mongo.accounts.count_documents({}) == 1
