"""Publisher and consumer report in one line why Kafka is unavailable, whichever way librdkafka reports the cause."""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from django.core.management import CommandError, call_command

from sync.kafka import publisher
from sync.mongodb.errors import Unavailable
from sync.outbox.models import Change
from sync.tests.support.publishing import story
from tests.kafka import Kafka, kafka_broker
from tests.servers import free_port

pytestmark = pytest.mark.django_db(transaction=True)

LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required user_portal=right-password;"
DAY = datetime.timedelta(days=1)


class Guarded(Kafka):
    """A broker with listeners that require a login, TLS or both, named as in the table below."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        folder.mkdir()
        ca, now = trustme.CA(), datetime.datetime.now(datetime.UTC)
        ca.cert_pem.write_to_path(folder / "ca.pem")
        trustme.CA().cert_pem.write_to_path(folder / "other-ca.pem")
        (folder / "junk.pem").write_text("no certificate\n")
        login = {"sasl.enabled.mechanisms": "PLAIN", "plain.sasl.jaas.config": LOGIN}
        good = self._tls(ca.issue_cert("127.0.0.1"), "good")
        expired = self._tls(ca.issue_cert("127.0.0.1", not_before=now - 9 * DAY, not_after=now - DAY), "expired")
        misnamed = self._tls(ca.issue_cert("kafka.example"), "misnamed")
        self.listeners = [
            kafka_broker.Listener("LOGIN", free_port(), "SASL_PLAINTEXT", login),
            kafka_broker.Listener("TLS", free_port(), "SSL", good),
            kafka_broker.Listener("EXPIRED", free_port(), "SSL", expired),
            kafka_broker.Listener("MISNAMED", free_port(), "SSL", misnamed),
            kafka_broker.Listener("BOTH", free_port(), "SASL_SSL", {**login, **good}),
        ]

    def _tls(self, certificate: trustme.LeafCert, name: str) -> dict[str, str]:
        key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
        chain = [key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())]  # the only one that Java reads
        path = self.folder / f"{name}.pem"
        path.write_bytes(b"".join([*chain, *(pem.bytes() for pem in certificate.cert_chain_pems)]))
        return {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(path)}

    def address(self, name: str) -> str:
        ports = {one.name: one.port for one in self.listeners}
        return f"127.0.0.1:{ports.get(name, self.port)}"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    broker = Guarded(tmp_path_factory.mktemp("guarded") / "kafka")
    try:
        broker.start()
    except kafka_broker.DidNotStart as error:
        pytest.skip(str(error))
    yield broker
    broker.stop()


def login(
    protocol: str = "SASL_PLAINTEXT", password: str = "right-password", mechanism: str = "PLAIN"
) -> dict[str, str]:
    return {
        "security.protocol": protocol, "sasl.mechanism": mechanism, "sasl.username": "portal",
        "sasl.password": password,
    }  # fmt: skip


def tls(ca: str = "ca.pem") -> dict[str, str]:
    return {"security.protocol": "SSL", "ssl.ca.location": ca}  # a file in the broker's folder


WRONG = {
    "wrong password": ("LOGIN", login(password="s3cret-and-wrong"), "Invalid username or password"),
    "wrong password over TLS": (
        "BOTH", {**login("SASL_SSL", "s3cret-and-wrong"), "ssl.ca.location": "ca.pem"}, "Invalid username or password",
    ),
    "wrong mechanism": ("LOGIN", login(mechanism="SCRAM-SHA-256"), "supported mechanisms: PLAIN"),
    "no login where one is needed": ("LOGIN", {}, 'set "security.protocol" to SASL_PLAINTEXT'),
    "no login where one is needed over TLS": ("BOTH", tls(), 'set "security.protocol" to SASL_SSL'),
    "a login where there is none": ("PLAINTEXT", login(), "SASL PLAIN mechanism handshake failed"),
    "TLS to a plain port": ("PLAINTEXT", tls(), "connecting to a PLAINTEXT broker listener"),
    "a plain connection to a TLS port": ("TLS", {}, 'requires TLS. Set "security.protocol"'),
    "a CA that has not signed it": ("TLS", tls("other-ca.pem"), "the broker's certificate was rejected: "),
    "an expired certificate": ("EXPIRED", tls(), "certificate has expired"),
    "a certificate of another host": ("MISNAMED", tls(), "certificate is not valid for"),
    "a CA file that is missing": ("TLS", tls("none.pem"), "none.pem, which is not a readable file"),
    "a CA file that is junk": ("TLS", tls("junk.pem"), "junk.pem"),
    "a host without an address": ("no-such-host.invalid:9092", {}, "Failed to resolve 'no-such-host.invalid:9092'"),
    "a port without a listener": ("127.0.0.1:9", {}, "Connection refused"),
}  # fmt: skip


def point(settings: Any, broker: Guarded, listener: str, more: dict[str, str]) -> None:
    """Set SYNC_KAFKA to the listener or another address."""
    files = {name: str(broker.folder / more[name]) for name in more if name.endswith(".location")}
    address = listener if ":" in listener else broker.address(listener)
    settings.SYNC_KAFKA = {"bootstrap.servers": address, **more, **files}


@pytest.mark.parametrize("client", ["publisher", "producer", "consumer"])
@pytest.mark.parametrize("case", WRONG)
def test_the_true_cause_is_reported_in_one_line(
    guarded: Guarded, settings: Any, monkeypatch: pytest.MonkeyPatch, case: str, client: str
) -> None:
    listener, more, cause = WRONG[case]
    point(settings, guarded, listener, more)
    settings.SYNC_TIMEOUT = 1
    if client == "producer":  # otherwise the topics' client would fail first and report the cause
        monkeypatch.setattr(publisher, "_make_topics", lambda: None)
    story()
    verb = ["consume", "story", "--to", "stories_1"] if client == "consumer" else ["publish"]
    with pytest.raises(CommandError) as failure:
        call_command("sync", *verb, "--once")
    message = str(failure.value)
    assert failure.value.returncode == 2
    assert cause in message
    assert case == "a port without a listener" or "no response" not in message
    assert "\n" not in message
    assert "s3cret" not in message
    change = Change.objects.get(queue="kafka")
    assert (change.attempts, change.error, change.failed) == (0, "", False), "the row is not at fault"


@pytest.mark.parametrize(
    ("listener", "more"),
    [("LOGIN", login()), ("TLS", tls()), ("BOTH", {**login("SASL_SSL"), "ssl.ca.location": "ca.pem"})],
    ids=["login", "TLS", "both"],
)
def test_correct_settings_work(guarded: Guarded, settings: Any, listener: str, more: dict[str, str]) -> None:
    point(settings, guarded, listener, more)
    settings.SYNC_TIMEOUT = 20
    publisher.Publisher().connect()


def test_a_cause_has_the_same_words_at_each_attempt(guarded: Guarded, settings: Any) -> None:
    point(settings, guarded, "LOGIN", login(password="s3cret-and-wrong"))
    settings.SYNC_TIMEOUT = 1
    writer, messages = publisher.Publisher(), set()
    for _ in range(3):
        with pytest.raises(Unavailable) as failure:
            writer.connect()
        messages.add(str(failure.value))
    assert len(messages) == 1, messages
