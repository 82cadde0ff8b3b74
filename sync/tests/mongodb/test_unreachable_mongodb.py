"""MongoDB is unreachable, for every known reason.

A save keeps its time limit, the error names the cause in one line, no row is blamed, and delivery continues on its own
afterwards.
"""

import datetime
import logging
import re
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from pymongo.database import Database

from finance.models import Account
from sync.mongodb import client as mongo_module
from sync.mongodb.breaker import BREAKER
from sync.mongodb.client import client, forget_clients
from sync.mongodb.errors import NoClient, Unavailable
from sync.mongodb.sharding import require_keys
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support import unreachable
from sync.tests.support.hurry import hurry
from sync.tests.support.processes import Process, finished, manage
from sync.tests.support.tls import TLSMongo, now, write
from sync.tests.support.unreachable import FakeDNS, listener
from tests.servers import SERVERS, Mongo

pytestmark = [pytest.mark.django_db(transaction=True)]

BOUND = 0.3  # seconds, the SYNC_INLINE_TIMEOUT of these tests
MARGIN = 1.0  # seconds that a busy machine may take beyond it


@pytest.fixture(scope="module")
def tls() -> Iterator[TLSMongo]:
    server = TLSMongo(SERVERS.place("tls"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def short_times(mongo: Database, settings: Any) -> Iterator[None]:
    require_keys.cache_clear()  # as in a process that has not reached MongoDB yet
    settings.SYNC_INLINE_TIMEOUT, settings.SYNC_TIMEOUT, settings.SYNC_BREAKER_RESET = BOUND, 0.7, 0.1
    yield
    settings.MONGODB_URI = SERVERS.mongo.uri("analytics_test")
    forget_clients()
    BREAKER.succeeded()


def save_in_time(number: int) -> None:
    start = time.monotonic()
    Account.objects.create(account_id=number, limit=number)
    took = time.monotonic() - start
    assert took < BOUND + MARGIN, f"the save took {took:.2f} s"


def no_row_is_blamed(count: int = 1) -> None:
    assert list(Change.objects.values_list("attempts", "failed", "error").distinct()) == [(0, False, "")]
    assert Change.objects.count() == count


def one_line(text: str) -> str:
    assert "\n" not in text
    assert not re.search("Topology|Timeout:|configured timeouts|full error|Traceback|_ssl.c|0x", text), text
    return text


def unreachable_at(settings: Any, caplog: Any, uri: str) -> str:
    """Saves an account and runs a relay while this address is unreachable. Returns the relay's error, one line."""
    settings.MONGODB_URI = uri
    forget_clients()
    caplog.set_level(logging.WARNING, "sync")
    save_in_time(1)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.endswith("; 1 change is left to the relay")
    no_row_is_blamed()
    hurry()
    with pytest.raises(Unavailable) as error:
        Relay().drain()
    no_row_is_blamed()
    one_line(warning)
    return one_line(str(error.value))


def all_is_delivered(documents: Any, count: int, seconds: float = 20.0) -> None:
    """Runs a relay until `count` documents exist. Retries after each failure, as a running relay does."""
    deadline = time.monotonic() + seconds
    while documents.count_documents({}) < count:
        assert time.monotonic() < deadline, "delivery does not continue on its own"
        hurry()
        try:
            Relay().drain()
        except Unavailable:
            time.sleep(0.1)


# --- wrong settings --------------------------------------------------------------------------------------------------

FILES = {
    "missing": lambda folder: str(folder / "missing.pem"),
    "junk": lambda folder: write(folder / "junk.pem", "junk"),
    "a folder": str,
}


@pytest.mark.parametrize("option", ["tlsCAFile", "tlsCertificateKeyFile", "tlsCRLFile"])
@pytest.mark.parametrize("fault", FILES)
def test_a_certificate_file_that_cannot_be_used_is_named(
    option: str, fault: str, tls: TLSMongo, tmp_path: Path, settings: Any, caplog: Any
) -> None:
    path = FILES[fault](tmp_path)
    line = unreachable_at(settings, caplog, tls.uri("analytics_test", **{option: path}))
    reason = "cannot be read: " if fault in ("missing", "a folder") else "does not hold "
    assert line.startswith(f"MongoDB cannot be reached: in MONGODB_URI, the file {path} ({option}) {reason}")
    messages = run_checks()
    assert [message.id for message in messages if message.id.startswith("sync.")] == ["sync.W001"]
    assert path in messages[0].msg


def test_a_key_file_without_the_certificate_of_its_key_is_named(tls: TLSMongo, settings: Any, caplog: Any) -> None:
    line = unreachable_at(settings, caplog, tls.uri("analytics_test", tlsCertificateKeyFile=tls.file("ca")))
    assert "(tlsCertificateKeyFile) does not hold a certificate and its private key in PEM" in line


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://h/x?noSuchOption=1", "mongodb://h/x?tls=maybe", "mongodb://h/x?authMechanism=NONE",
        "mongodb://h:99999/x", "mongodb://u:p@ss@h/x",
        "mongodb://u:p@ss/w@h/x", "mongodb+srv://a.example.test:1/x", "http://h/x", "mongodb://h/",
        "mongodb+srv://a.example.test,b.example.test/x", "mongodb+srv://a.example.test/",
        "mongodb://h/x?tls=true&ssl=false",
        "mongodb+srv://a.example.test/x?noSuchOption=1",
    ],
)  # fmt: skip
def test_a_wrong_address_is_refused_by_the_system_checks(uri: str, settings: Any) -> None:
    settings.MONGODB_URI = uri
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        messages = run_checks()
    assert [message.id for message in messages if message.id.startswith("sync.")] == ["sync.E001"]
    assert messages[0].msg.startswith("MONGODB_URI ")
    assert "p@ss" not in messages[0].msg


# --- other servers, and TLS ------------------------------------------------------------------------------------------

ANSWERS = [
    (unreachable.stays_silent, "", r"MongoDB does not respond in time"),
    (unreachable.resets, "", r"MongoDB does not respond: 127.0.0.1:\d+ closed the connection; it may be restarting"),
    (unreachable.closes, "", r"MongoDB does not respond: 127.0.0.1:\d+ closed the connection; .* require TLS"),
    (unreachable.speaks_http, "", r"MongoDB's address leads to another kind of server: check host, port and tls"),
    (unreachable.speaks_mysql, "", r"MongoDB's address leads to another kind of server: check host, port and tls"),
    (unreachable.is_too_old, "", r"MongoDB is too old: this client needs MongoDB [\d.]+ or newer"),
    (unreachable.stays_silent, "&tls=true", r"MongoDB does not respond in time"),
    (unreachable.closes, "&tls=true", r"MongoDB ends the TLS handshake \(127.0.0.1:\d+\): the port may have no TLS"),
    (unreachable.speaks_http, "&tls=true", r"MongoDB's address leads to a port without TLS \(127.0.0.1:\d+\)"),
]


@pytest.mark.parametrize(
    ("answer", "options", "words"), ANSWERS, ids=[answer.__name__ + options for answer, options, _ in ANSWERS]
)
def test_the_error_names_what_responds_instead_of_mongodb(
    answer: Any, options: str, words: str, settings: Any, caplog: Any
) -> None:
    with listener(answer) as port:
        uri = f"mongodb://127.0.0.1:{port}/analytics_test?directConnection=true{options}"
        assert re.match(words, unreachable_at(settings, caplog, uri))


TLS_FAULTS = [
    (
        {"tlsCAFile": "other_ca"},
        "localhost",
        r"MongoDB's certificate is not trusted \(.+\): check tlsCAFile",
    ),
    ({}, "127.0.0.1", r"MongoDB's certificate is not for 127.0.0.1: use a host name that it contains, or renew it"),
    (
        {"tls": "", "tlsCAFile": ""},
        "localhost",
        r"MongoDB does not respond: localhost:\d+ closed .* require TLS \(tls=true\)",
    ),
]


@pytest.mark.parametrize(("options", "host", "words"), TLS_FAULTS, ids=["another CA", "another name", "no TLS"])
def test_the_error_names_the_fault_in_tls(
    options: dict[str, str], host: str, words: str, tls: TLSMongo, settings: Any, caplog: Any
) -> None:
    given = {name: tls.file(value) if value else "" for name, value in options.items()}
    line = unreachable_at(settings, caplog, tls.uri("analytics_test", host, **given))
    assert re.match(words, line), line


def test_the_error_names_a_server_without_tls(settings: Any, caplog: Any) -> None:
    uri = f"mongodb://127.0.0.1:{SERVERS.mongo.port}/analytics_test?directConnection=true&tls=true"
    assert unreachable_at(settings, caplog, uri).startswith("MongoDB ends the TLS handshake")


LOGINS = [
    ("PLAIN", "MongoDB does not offer the login mechanism PLAIN: check authMechanism in its address"),
    ("SCRAM-SHA-256", "MongoDB rejects the login: wrong user, password or authSource"),
    ("MONGODB-AWS", "MongoDB: MONGODB-AWS authentication requires pymongo-auth-aws"),
]


@pytest.mark.parametrize(("mechanism", "words"), LOGINS)
def test_the_error_names_the_fault_in_a_login(mechanism: str, words: str, settings: Any, caplog: Any) -> None:
    uri = f"mongodb://u:p@127.0.0.1:{SERVERS.mongo.port}/analytics_test?authMechanism={mechanism}&directConnection=true"
    if mechanism == "PLAIN":
        uri += "&authSource=$external"
    assert unreachable_at(settings, caplog, uri).startswith(words)


def test_the_error_names_a_missing_primary(mongod: Mongo, settings: Any, caplog: Any) -> None:
    with pymongo.MongoClient(mongod.uri("admin"), directConnection=True) as direct:  # type: pymongo.MongoClient
        direct.admin.command("replSetStepDown", 20, force=True)
        try:
            line = unreachable_at(settings, caplog, mongod.uri("analytics_test"))
        finally:
            direct.admin.command("replSetFreeze", 0)
            while not direct.admin.command("hello")["isWritablePrimary"]:
                time.sleep(0.1)
    assert line.startswith("MongoDB has no primary now")


# --- the server rejects writes ---------------------------------------------------------------------------------------

REFUSALS = [
    (14031, "MongoDB's disk is full: free or add space there"),
    (8000, "MongoDB Atlas refuses: "),
    (91, "MongoDB is shutting down or restarting"),
    (50, "MongoDB does not respond in time: check its load, and whether it has a primary"),
]


@pytest.mark.parametrize(("code", "words"), REFUSALS)
def test_no_row_is_blamed_for_a_server_that_rejects_every_write(
    code: int, words: str, mongo: Database, settings: Any, caplog: Any
) -> None:
    fail = {"failCommands": ["update", "delete", "insert"], "errorCode": code}
    mongo.client.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=fail)
    try:
        line = unreachable_at(settings, caplog, SERVERS.mongo.uri("analytics_test"))
    finally:
        mongo.client.admin.command("configureFailPoint", "failCommand", mode="off")
    assert line.startswith(words)
    forget_clients()  # a client retries a server that reported its shutdown only after ten seconds
    all_is_delivered(mongo.accounts, 1)


def test_no_row_is_blamed_for_blocked_writes(mongo: Database, settings: Any, caplog: Any) -> None:
    """MongoDB reports an error for each write of the bulk, as if each document were invalid."""
    admin = mongo.client.admin
    admin.command({"setUserWriteBlockMode": 1, "global": True})
    try:
        line = unreachable_at(settings, caplog, SERVERS.mongo.uri("analytics_test"))
    finally:
        admin.command({"setUserWriteBlockMode": 1, "global": False})
    assert line == "MongoDB accepts no writes: an administrator has blocked them (setUserWriteBlockMode)"
    all_is_delivered(mongo.accounts, 1)


# --- DNS -------------------------------------------------------------------------------------------------------------

SRV = "mongodb+srv://cluster.example.test/analytics_test?tls=false"
HOST = "mongodb://mongo.example.test:{port}/analytics_test?directConnection=true"


@pytest.fixture
def fake_dns(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDNS]:
    fake = FakeDNS(monkeypatch, SERVERS.mongo.port)
    yield fake
    fake.turn("ok")  # releases waiting threads


DNS_FAULTS = [
    (SRV, "silent", "MongoDB cannot be reached: DNS does not respond, so its servers are unknown; check DNS"),
    (SRV, "unknown", "MongoDB's address has no DNS record _mongodb._tcp.cluster.example.test: check the host name"),
    (HOST, "silent", "MongoDB does not respond in time: check that it runs, its address, and firewalls"),
    (HOST, "unknown", "MongoDB's host name cannot be resolved (mongo.example.test:"),
]


@pytest.mark.parametrize(("uri", "state", "words"), DNS_FAULTS)
def test_a_save_keeps_its_time_limit_if_dns_is_silent_or_has_no_record(
    uri: str, state: str, words: str, fake_dns: FakeDNS, mongo: Database, settings: Any, caplog: Any
) -> None:
    fake_dns.turn(state)
    line = unreachable_at(settings, caplog, uri.format(port=SERVERS.mongo.port))
    assert line.startswith(words)
    time.sleep(settings.SYNC_BREAKER_RESET)
    save_in_time(2)
    no_row_is_blamed(2)
    fake_dns.turn("ok")
    all_is_delivered(mongo.accounts, 2)


def test_the_error_names_the_host_with_the_fault(fake_dns: FakeDNS, settings: Any, caplog: Any) -> None:
    fake_dns.turn("unknown")
    line = unreachable_at(settings, caplog, "mongodb://127.0.0.1:1,mongo.example.test:2/analytics_test?replicaSet=rs0")
    assert line.startswith("MongoDB's host name cannot be resolved (mongo.example.test:2): ")


def test_the_error_names_members_whose_addresses_are_not_in_the_uri(mongod: Mongo, settings: Any, caplog: Any) -> None:
    settings.MONGODB_URI = mongod.uri("analytics_test").replace("127.0.0.1", "localhost")
    forget_clients()
    save_in_time(7)
    mongod.kill()
    caplog.clear()
    save_in_time(8)
    hurry()
    with pytest.raises(Unavailable) as error:
        Relay().drain()
    reason = rf"MongoDB does not respond: no member .* that the replica set lists \(127.0.0.1:{mongod.port}\)"
    assert re.match(reason, one_line(str(error.value))), str(error.value)


def test_dns_is_not_blamed_if_no_name_is_looked_up(monkeypatch: Any, settings: Any) -> None:
    """On a busy machine, creating the client of a plain address may take longer than a save is allowed to."""
    made, connect = threading.Event(), mongo_module.connect
    monkeypatch.setattr(mongo_module, "connect", lambda *args, **kw: made.wait(10) and connect(*args, **kw))
    forget_clients()
    with pymongo.timeout(0.01), pytest.raises(NoClient, match="too busy to create one in time"):
        client()
    made.set()
    assert client().admin.command("ping")["ok"] == 1


def test_a_pool_that_grows_while_dns_is_silent_keeps_the_time_limit(
    fake_dns: FakeDNS, mongo: Database, settings: Any
) -> None:
    settings.MONGODB_URI = HOST.format(port=SERVERS.mongo.port)
    forget_clients()
    save_in_time(1)
    assert mongo.accounts.count_documents({}) == 1
    fake_dns.turn("silent")
    busy = threading.Thread(target=lambda: client().admin.command("sleep", 1, secs=0.8, lock="none"))
    busy.start()
    time.sleep(0.3)  # the one connection is in use
    save_in_time(2)
    busy.join()
    assert list(Change.objects.values_list("attempts", "failed").distinct()) == [(0, False)]
    fake_dns.turn("ok")
    all_is_delivered(mongo.accounts, 2)


def test_the_system_checks_query_no_dns(fake_dns: FakeDNS, settings: Any) -> None:
    settings.MONGODB_URI = SRV
    fake_dns.turn("silent")
    start = time.monotonic()
    assert [message for message in run_checks() if message.id.startswith("sync.")] == []
    assert time.monotonic() - start < 5


HANGING = """
import time, dns.resolver
dns.resolver.resolve = lambda *args, **kwargs: time.sleep(60)
"""


WITHOUT_MONGODB = [
    ["migrate"], ["clearsessions"], ["check"],
    ["createsuperuser", "--noinput", "--username=u", "--email=u@example.org"],
]  # fmt: skip


@pytest.mark.parametrize("command", WITHOUT_MONGODB, ids=[command[0] for command in WITHOUT_MONGODB])
def test_commands_that_need_no_mongodb_run_while_dns_is_silent(command: list[str], tmp_path: Path) -> None:
    start = time.monotonic()
    process = finished(manage_without_dns(tmp_path, *command))
    assert process.status == 0, process.stderr
    assert "Traceback" not in process.stderr
    assert time.monotonic() - start < 20


def test_a_relay_starts_while_dns_is_silent_and_reports_it(tmp_path: Path) -> None:
    with manage_without_dns(tmp_path, "sync", "relay") as process:
        Account.objects.create(account_id=1, limit=1)
        hurry()
        process.until_it_says("MongoDB cannot be reached: DNS does not respond")
        assert not re.search("sync.E001|Traceback", process.stderr)
        time.sleep(2)
        assert process.status is None, "the relay continues"
    no_row_is_blamed()


def manage_without_dns(folder: Path, *command: str) -> Process:
    """A command whose DNS never responds."""
    write(folder / "sitecustomize.py", HANGING)
    return manage(
        *command, MONGODB_URI=SRV, PYTHONPATH=str(folder), SYNC_TIMEOUT="1",
        DJANGO_SUPERUSER_PASSWORD="a long password",
    )  # fmt: skip


# --- delivery continues on its own ------------------------------------------------------------------------------------


def test_delivery_continues_when_the_file_appears(tls: TLSMongo, tmp_path: Path, settings: Any, caplog: Any) -> None:
    path = tmp_path / "ca.pem"
    unreachable_at(settings, caplog, tls.uri("analytics_test", tlsCAFile=str(path)))
    write(path, Path(tls.file("ca")).read_text())
    with tls.connect() as direct:
        direct.analytics_test.accounts.delete_many({})
        all_is_delivered(direct.analytics_test.accounts, 1)


def test_delivery_continues_when_another_ca_replaces_the_file(
    tls: TLSMongo, tmp_path: Path, settings: Any, caplog: Any
) -> None:
    """The driver has read the old file and does not read it again."""
    path = tmp_path / "ca.pem"
    write(path, Path(tls.file("other_ca")).read_text())
    unreachable_at(settings, caplog, tls.uri("analytics_test", tlsCAFile=str(path)))
    write(path, Path(tls.file("ca")).read_text())
    with tls.connect() as direct:
        direct.analytics_test.accounts.delete_many({})
        all_is_delivered(direct.analytics_test.accounts, 1)


def test_a_half_written_file_does_not_break_a_working_client(tls: TLSMongo, tmp_path: Path, settings: Any) -> None:
    path = tmp_path / "ca.pem"
    write(path, Path(tls.file("ca")).read_text())
    settings.MONGODB_URI = tls.uri("analytics_test", tlsCAFile=str(path))
    forget_clients()
    with tls.connect() as direct:
        direct.analytics_test.accounts.delete_many({})
        save_in_time(1)
        write(path, "-----BEGIN CERTIFI")
        save_in_time(2)
        assert direct.analytics_test.accounts.count_documents({}) == 2


def test_an_expired_certificate_is_named_and_delivery_continues_after_renewal(
    tls: TLSMongo, settings: Any, caplog: Any
) -> None:
    tls.issue("server", "localhost", until=now() + datetime.timedelta(seconds=2))
    tls.use_new_certificate()  # MongoDB accepts no certificate that has already expired
    time.sleep(2.1)
    try:
        line = unreachable_at(settings, caplog, tls.uri("analytics_test"))
        assert re.match(r"MongoDB's certificate has expired \(localhost:\d+\): renew it", line), line
    finally:
        tls.issue("server", "localhost")
        tls.use_new_certificate()
    with tls.connect() as direct:
        direct.analytics_test.accounts.delete_many({})
        all_is_delivered(direct.analytics_test.accounts, 1)


# --- commands --------------------------------------------------------------------------------------------------------

COMMANDS = [("relay", "--once"), ("verify",), ("trace", "account", "0" * 24), ("backfill", "account")]


@pytest.mark.parametrize("command", COMMANDS, ids=[command[0] for command in COMMANDS])
def test_every_command_prints_the_same_line_and_exits_with_2(
    command: tuple[str, ...], tmp_path: Path, settings: Any, capsys: Any
) -> None:
    settings.SYNC_INLINE = False
    settings.MONGODB_URI = f"mongodb://127.0.0.1:1/analytics_test?tls=true&tlsCAFile={tmp_path}/missing.pem"
    forget_clients()
    Account.objects.create(account_id=1, limit=1)
    with pytest.raises(CommandError) as error:
        call_command("sync", *command)
    assert error.value.returncode == 2
    reason = f"in MONGODB_URI, the file {tmp_path}/missing.pem (tlsCAFile) cannot be read: No such file or directory"
    assert str(error.value).splitlines()[0] == f"MongoDB cannot be reached: {reason}"
    with pytest.raises(SystemExit) as end:
        call_command("sync", "status")
    assert end.value.code == 2
    assert f"MongoDB unreachable: MongoDB cannot be reached: {reason}" in capsys.readouterr().out
