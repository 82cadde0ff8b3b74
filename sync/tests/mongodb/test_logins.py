"""Logging in to MongoDB over TLS: with a password (SCRAM), and with a certificate (X.509). No password is in `ps`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pymongo
import pytest
from cryptography import x509

from finance.models import Account
from sync.outbox.models import Change
from sync.tests.support.processes import Process, finished, manage
from sync.tests.support.roles import documented
from sync.tests.support.tls import TLSMongo
from tests.servers import SERVERS

pytestmark = pytest.mark.django_db(transaction=True)
NAME, PASSWORD = "portal", "p@ss/word:1"


class Guarded(TLSMongo):
    """With the documented role. One user has it with a password, and one with a certificate."""

    def start(self) -> None:
        self.folder.mkdir()
        key = self.folder / "key"
        key.write_text("c3luYw==" * 4)
        key.chmod(0o600)
        self._start("--auth", "--keyFile", str(key))
        self.issue("client", "client.example.com", unit="portal")
        self.issue("stranger", "client.example.com", unit="nobody")
        with self.client() as client:
            client.admin.command("createUser", "root", pwd="root-pw", roles=["root"])
        with self.client(username="root", password="root-pw") as client:
            role, roles = documented()["portal"], [{"role": "portal", "db": "admin"}]
            client.admin.command(role)
            client.admin.command("createUser", NAME, pwd=PASSWORD, roles=roles, mechanisms=["SCRAM-SHA-256"])
            client["$external"].command("createUser", self.subject("client"), roles=roles)

    def client(self, **login: str) -> pymongo.MongoClient[dict[str, Any]]:
        return pymongo.MongoClient("127.0.0.1", self.port, directConnection=True, **login)

    def subject(self, name: str) -> str:
        """The name of a certificate's owner, as MongoDB writes it."""
        return x509.load_pem_x509_certificate(Path(self.file(name)).read_bytes()).subject.rfc4514_string()

    def address(self, login: str, **options: str) -> str:
        given = {"tls": "true", "tlsCAFile": self.file("ca"), **options}
        text = "&".join(f"{name}={value}" for name, value in given.items())
        return f"mongodb://{login}localhost:{self.port}/analytics?directConnection=true&{text}"

    def by_password(self, password: str = PASSWORD) -> str:
        return self.address(f"{NAME}:{quote(password, safe='')}@", authSource="admin")

    def by_certificate(self, name: str = "client") -> str:
        options = {"authMechanism": "MONGODB-X509", "authSource": "$external", "tlsCertificateKeyFile": self.file(name)}
        return self.address("", **options)


@pytest.fixture(scope="module")
def server() -> Iterator[Guarded]:
    found = Guarded(SERVERS.place("guarded"))
    found.start()
    yield found
    found.stop()


@pytest.fixture
def account(server: Guarded, settings: Any) -> Account:
    """A row whose change waits."""
    settings.SYNC_INLINE = False
    with server.client(username="root", password="root-pw") as client:
        client.analytics.accounts.delete_many({})
    return Account.objects.create(account_id=7, limit=9)


def relay(address: str) -> Process:
    return finished(manage("sync", "relay", "--once", MONGODB_URI=address))


def documents(server: Guarded) -> int:
    with server.client(username="root", password="root-pw") as client:
        return client.analytics.accounts.count_documents({})


@pytest.mark.parametrize("login", ["by_password", "by_certificate"])
def test_a_relay_logs_in(login: str, server: Guarded, account: Account) -> None:
    done = relay(getattr(server, login)())
    assert done.status == 0, done.output
    assert documents(server) == 1
    assert not Change.objects.filter(settling=False).exists()


@pytest.mark.parametrize(
    ("login", "argument", "words"),
    [
        ("by_password", "wrong-pass", "MongoDB rejects the login"),
        ("by_certificate", "stranger", 'Could not find user "OU=nobody'),
    ],
    ids=["password", "certificate"],
)
def test_a_refused_login_is_named_and_loses_nothing(
    login: str, argument: str, words: str, server: Guarded, account: Account
) -> None:
    done = relay(getattr(server, login)(argument))
    assert done.status == 2, done.output
    assert words in done.output
    assert "wrong-pass" not in done.output
    assert "Traceback" not in done.output
    assert documents(server) == 0
    assert Change.objects.count() == 1


def test_no_password_is_in_the_list_of_processes(server: Guarded, account: Account) -> None:
    with manage("sync", "run", MONGODB_URI=server.by_password()) as process:
        process.until(lambda: documents(server) == 1, "it delivers")
        commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        assert any(b"manage.py\0sync\0run" in command for command in commands)
        secrets = (PASSWORD.encode(), quote(PASSWORD, safe="").encode())
        assert not [command for command in commands if any(secret in command for secret in secrets)]
        assert PASSWORD not in process.output
        process.terminate()
