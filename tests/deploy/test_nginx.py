"""deploy/nginx/portal.conf is valid, and nginx serves the portal with it."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from analytics_site.gunicorn_worker import MAX_BODY
from sync.tests.support.processes import Process
from tests.deploy.visitor import Visitor, make_user
from tests.nginx import SITE, configure
from tests.portal import serving
from tests.servers import free_port

pytestmark = pytest.mark.django_db(transaction=True)


class Proxy(NamedTuple):
    http: str
    https: str
    context: ssl.SSLContext


@contextmanager
def nginx(folder: Path, portal: int, http: int, https: int) -> Iterator[Process]:
    """Runs nginx with the documented file, at other ports and paths, and with a certificate for `localhost`."""
    command = configure(folder, {
        "listen 80": f"listen 127.0.0.1:{http}", "listen 443": f"listen 127.0.0.1:{https}",
        "127.0.0.1:8000": f"127.0.0.1:{portal}", "portal.example.com": "localhost",
    })  # fmt: skip
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
    assert "[warn]" not in tested.stderr

    def listens() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", https)):
            return True
        return False

    with Process(*command) as process:
        process.until(listens, "nginx listens")
        yield process
        process.terminate()


@contextmanager
def proxied(folder: Path) -> Iterator[Proxy]:
    """Serves the portal behind nginx."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(folder / "portal.key")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(folder / "portal.crt", append=True)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    http, https = free_port(), free_port()
    origin = f"https://localhost:{https}"
    with (
        serving(HTTPS="1", TRUSTED_PROXIES="1", PORTAL_ORIGIN=origin) as address,
        nginx(folder, int(address.rpartition(":")[2]), http, https),
    ):
        yield Proxy(f"http://localhost:{http}", origin, context)


@pytest.fixture(scope="module")
def proxy(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with proxied(tmp_path_factory.mktemp("nginx")) as served:
        yield served


def test_a_user_logs_in_over_https(proxy: Proxy) -> None:
    make_user()
    visitor = Visitor(proxy.https, proxy.context)
    visitor.log_in()
    assert visitor.is_logged_in
    _, headers, _ = visitor.open("/profile/")
    assert "max-age=" in headers["strict-transport-security"]
    assert re.fullmatch(r"[0-9a-f]{32}", headers["x-request-id"]), "nginx's id, which its own log can have"


def test_http_is_redirected(proxy: Proxy) -> None:
    port = int(proxy.http.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"GET /login/?a=b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        head = client.recv(4096).decode()
    assert head.startswith("HTTP/1.1 308 ")
    assert "\r\nLocation: https://localhost/login/?a=b\r\n" in head


def test_another_name_gets_no_answer(proxy: Proxy) -> None:
    with pytest.raises(OSError, match=r"(?i)unrecognized|handshake|closed|reset|EOF"):
        Visitor(proxy.https.replace("localhost", "127.0.0.1"), proxy.context).open("/healthz")


def test_a_static_file_is_kept_with_the_portals_headers(proxy: Proxy) -> None:
    visitor = Visitor(proxy.https, proxy.context)
    page = visitor.open("/login/")[2].decode()
    path = re.findall(r'href="(/static/[^"]+\.css)"', page)[0]
    found = [visitor.open(path, Accept_Encoding="gzip") for _ in range(2)]
    assert [status for status, _, _ in found] == [200, 200]
    assert [headers["x-cache"] for _, headers, _ in found] == ["MISS", "HIT"]
    for _, headers, _ in found:
        assert "immutable" in headers["cache-control"]
        assert headers["content-encoding"] == "gzip"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
    assert visitor.open(path)[1].get("content-encoding") is None, "kept apart for those who cannot unpack it"


def test_a_body_above_the_limit_gets_413_from_nginx(proxy: Proxy) -> None:
    assert f"client_max_body_size {MAX_BODY // 2**20}m;" in SITE
    visitor = Visitor(proxy.https, proxy.context)
    with_length = {"Content_Type": "application/octet-stream"}
    host, port = "127.0.0.1", int(proxy.https.rpartition(":")[2])
    with (
        socket.create_connection((host, port), timeout=10) as plain,
        proxy.context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(
            b"POST /login/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            % (MAX_BODY + 1)
        )
        head = client.recv(4096).decode()
    assert head.startswith("HTTP/1.1 413 ")
    assert "\r\nServer: nginx\r\n" in head
    status, headers, _ = visitor.open("/login/", b"x" * 1_000_000, **with_length)
    assert status == 403, "the portal itself refuses a smaller one, which has no token"
    assert headers["x-request-id"]


def test_a_forged_client_address_does_not_count(tmp_path: Path) -> None:
    """Ten failed logins of an address are allowed in a minute, whatever address the client claims.

    At a portal of its own: the other tests come from the same address, and are refused after this.
    """
    with proxied(tmp_path) as proxy:
        visitor = Visitor(proxy.https, proxy.context)
        forged = {f"nobody{number}": f"192.0.2.{number}" for number in range(11)}
        pages = [
            visitor.log_in(name, "wrong", X_Forwarded_For=address, X_Real_IP=address)
            for name, address in forged.items()
        ]
    assert all("Too many" not in page for page in pages[:10])
    assert "Too many" in pages[10]


def test_a_forged_protocol_or_host_does_not_count(proxy: Proxy) -> None:
    visitor = Visitor(proxy.https, proxy.context)
    status, _, page = visitor.open("/login/", X_Forwarded_Host="evil.example.com", X_Forwarded_Proto="http")
    assert status == 200, "not redirected to HTTPS again"
    assert b"evil.example.com" not in page
