"""A MongoDB server with TLS and certificates of a test CA."""

import datetime
from pathlib import Path
from typing import Any

import pymongo
import trustme

from tests.servers import Mongo
from tests.servers import mongod as program

YEAR = datetime.timedelta(days=365)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class TLSMongo(Mongo):
    """A mongod whose certificate is valid for the host name localhost only.

    Files: server, its certificate; ca, the CA that issued it; other_ca, another CA.
    """

    def start(self) -> None:
        self._start()
        with pymongo.MongoClient("127.0.0.1", self.port, directConnection=True) as client:  # type: pymongo.MongoClient
            client.admin.command("setParameter", 1, tlsMode="requireTLS")

    def _start(self, *options: str) -> None:
        """Start it with further options. It accepts connections without TLS, too."""
        self.folder.mkdir(exist_ok=True)
        self.ca = trustme.CA()
        self.ca.cert_pem.write_to_path(self.file("ca"))
        trustme.CA().cert_pem.write_to_path(self.file("other_ca"))
        self.issue("server", "localhost")
        self.process = program.start(
            self.folder, self.port, "--tlsMode", "preferTLS", "--tlsAllowConnectionsWithoutCertificates",
            "--tlsCertificateKeyFile", self.file("server"), "--tlsCAFile", self.file("ca"), *options,
        )  # fmt: skip
        program.initiate(self.port)

    def file(self, name: str) -> str:
        return str(self.folder / f"{name}.pem")

    def issue(self, name: str, host: str, until: datetime.datetime | None = None, unit: str | None = None) -> None:
        """Write a certificate and its key. until: the end of its validity; default: in a year. unit: whose it is."""
        until = until or now() + YEAR
        self.ca.issue_cert(
            host, not_before=until - 2 * YEAR, not_after=until, organization_unit_name=unit
        ).private_key_and_cert_chain_pem.write_to_path(self.file(name))

    def use_new_certificate(self) -> None:
        """Make the server read its certificate again. Open connections stay open."""
        with self.connect() as client:
            client.admin.command("rotateCertificates")

    def connect(self) -> Any:
        """Connect without checking the certificate."""
        return pymongo.MongoClient(
            f"localhost:{self.port}", directConnection=True, tls=True, tlsAllowInvalidCertificates=True
        )

    def uri(self, database: str, host: str = "localhost", **options: str) -> str:
        given = {"tls": "true", "tlsCAFile": self.file("ca")} | options
        text = "".join(f"&{name}={value}" for name, value in given.items() if value)
        return f"mongodb://{host}:{self.port}/{database}?directConnection=true{text}"


def write(path: str | Path, text: str) -> str:
    Path(path).write_text(text)
    return str(path)
