"""The units in deploy/systemd are valid and confined, and the portal works within their confinement."""

from __future__ import annotations

import io
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from analytics_site.environment import SECRETS
from sync.tests.support.processes import Process, finished, manage
from tests.deploy.visitor import Visitor, make_user
from tests.documented import block
from tests.portal import variables
from tests.servers import ROOT, SERVERS, free_port

UNITS = ROOT / "deploy" / "systemd"
COMMON = UNITS / "portal-.service.d" / "common.conf"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
SETTINGS = (ROOT / "docs" / "reference" / "settings.md").read_text()
KNOWN = {*re.findall(r"^\| `([A-Z_]+)` \|", SETTINGS, re.MULTILINE), *(f"{name}_FILE" for name in SECRETS)}
OF_PYTHON = {"PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
WORST_EXPOSURE = 1.5  # of 10, as `systemd-analyze security` counts it


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A folder as `/`, after the documented commands but the last ones, which need systemd itself."""
    root = tmp_path / "system"
    (root / "etc").mkdir(parents=True)
    for line in block("how-to/production.md", "With systemd"):
        if not line.startswith("systemctl "):
            line = line.replace(" /etc/", f" {root}/etc/").replace(
                "systemd-sysusers", f"systemd-sysusers --root={root}"
            )
            subprocess.run(["sh", "-c", line], cwd=ROOT, check=True, capture_output=True)
    return root


@pytest.fixture
def folder(system: Path) -> Path:
    """The installed units, on a machine with the portal: here it is in the folder of these tests."""
    units = system / "etc/systemd/system"
    for path in units.rglob("*.*"):
        if path.is_file():
            text = path.read_text().replace("/opt/portal/.venv", sys.prefix)
            path.write_text(text.replace("/opt/portal", str(ROOT)))
    return units


def analyze(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    path = {"SYSTEMD_UNIT_PATH": f"{folder}:/usr/lib/systemd/system"}
    return subprocess.run(
        [program, *arguments], env=os.environ | path, capture_output=True, text=True, timeout=60, check=False
    )


def values(text: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)


@pytest.mark.quick
def test_the_documented_commands_install_all_that_the_units_name(system: Path) -> None:
    installed = {path.name for path in (system / "etc/systemd/system").iterdir()}
    assert installed == {*SERVICES, COMMON.parent.name}
    for path in [*re.findall(r"^LoadCredential=\w+:(.+)$", COMMON.read_text(), re.MULTILINE),
                 *values(COMMON.read_text(), "EnvironmentFile")]:  # fmt: skip
        assert (system / path.lstrip("/")).is_file(), path
    [user] = values(COMMON.read_text(), "User")
    assert (system / "etc/passwd").read_text().startswith(f"{user}:")
    started = " ".join(line for line in block("how-to/production.md", "With systemd") if line.startswith("systemctl "))
    assert all(name.removesuffix(".service") in started for name in SERVICES)


@pytest.mark.quick
def test_the_units_are_valid(folder: Path) -> None:
    done = analyze(folder, "verify", *SERVICES)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.quick
@pytest.mark.parametrize("service", SERVICES)
def test_the_units_are_confined(service: str, folder: Path) -> None:
    done = analyze(folder, "security", "--offline=true", "--no-pager", service)
    [exposure] = re.findall(r"exposure level for \S+: ([\d.]+) ", done.stdout)
    print(f"\n{service}: exposure {exposure} of 10")
    assert float(exposure) <= WORST_EXPOSURE
    assert f"their exposure {exposure} of 10" in (ROOT / "docs/how-to/production.md").read_text()


@pytest.mark.quick
def test_the_units_use_variables_that_the_portal_reads_and_no_secret_is_in_them() -> None:
    text = COMMON.read_text()
    given = {name for line in values(text, "Environment") for name in re.findall(r"(\w+)=", line)}
    example = set(re.findall(r"^(\w+)=", (UNITS / "portal.env.example").read_text(), re.MULTILINE))
    assert given | example <= KNOWN | OF_PYTHON
    assert not (given | example) & SECRETS
    credentials = {line.partition(":")[0] for line in values(text, "LoadCredential")}
    assert {f"{name.upper()}_FILE=%d/{name}" for name in credentials} == set(re.findall(r"\w+_FILE=\S+", text))


@pytest.mark.quick
def test_the_watchdog_allows_more_than_an_outages_longest_pause() -> None:
    from sync.workers.loop import LONGEST_PAUSE

    [seconds] = values((UNITS / "portal-sync.service").read_text(), "WatchdogSec")
    assert int(seconds) >= 3 * LONGEST_PAUSE
    assert not values((UNITS / "portal-web.service").read_text(), "WatchdogSec"), "gunicorn sends no pings"


@pytest.fixture
def allowed(folder: Path, tmp_path: Path) -> Path:
    """A file with the system calls that the units allow."""

    def expanded(names: str) -> set[str]:
        found = set()
        for name in names.split():
            if name.startswith("@"):
                lines = analyze(folder, "syscall-filter", "--no-pager", name).stdout.splitlines()[1:]
                found |= expanded(" ".join(line.strip() for line in lines if line.strip()[:1] != "#"))
            else:
                found.add(name)
        return found

    permitted, denied = values(COMMON.read_text(), "SystemCallFilter")
    assert denied.startswith("~")
    names = expanded(f"@default {permitted}") - (expanded(denied[1:]) - expanded("@default"))
    (tmp_path / "allowed").write_text("\n".join(names))
    return tmp_path / "allowed"


@pytest.fixture
def notified(tmp_path: Path) -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as supervisor:
        supervisor.bind(str(tmp_path / "s"))
        supervisor.settimeout(30)
        yield supervisor


def of_unit(name: str, allowed: Path, notified: socket.socket, bind: str = "", **changes: str) -> Process:
    """What the unit starts, under its filter, with gunicorn's address replaced."""
    [command] = values((UNITS / name).read_text(), "ExecStart")
    program, *arguments = command.replace("/opt/portal/.venv", sys.prefix).split()
    if bind:
        arguments[arguments.index("--bind") + 1] = bind
    environment = variables() | {"NOTIFY_SOCKET": notified.getsockname()} | changes
    return Process(sys.executable, "-m", "tests.scripts.under_the_units_filter", str(allowed), program, *arguments,
                   **environment)  # fmt: skip


def is_filtered(number: int) -> bool:
    return "\nSeccomp:\t2\n" in Path(f"/proc/{number}/status").read_text()


@pytest.mark.django_db(transaction=True)
def test_the_web_server_works_within_the_filter_and_tells_when_it_is_ready(
    allowed: Path, notified: socket.socket, tmp_path: Path
) -> None:
    make_user()
    bind = f"127.0.0.1:{free_port()}"
    assert finished(manage("collectstatic", "--noinput", "--verbosity=0", **variables())).status == 0
    with of_unit("portal-web.service", allowed, notified, bind, MEDIA_ROOT=str(tmp_path / "media")) as process:
        assert b"READY=1" in notified.recv(4096)
        assert is_filtered(process.pid)
        visitor = Visitor(f"http://{bind}")
        visitor.log_in()
        assert visitor.is_logged_in
        # A picture is decoded in a process that lowers its own limits and priority.
        assert upload(visitor, picture()) == 200
        assert [path for path in (tmp_path / "media").rglob("*") if path.is_file()]
        assert process.terminate() == 0


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 40), "green").save(file, "PNG")
    return file.getvalue()


def upload(visitor: Visitor, content: bytes) -> int:
    page = visitor.open("/profile/")[2].decode()
    token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[0]
    part = '--b\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'
    head = "".join(
        part.format(name, "") + f"{value}\r\n"
        for name, value in (("csrfmiddlewaretoken", token), ("first_name", "A"), ("last_name", "B"))
    )
    head += part.format("picture", '; filename="p.png"')
    body = head.encode() + content + b"\r\n--b--\r\n"
    return visitor.open("/profile/", body, Content_Type="multipart/form-data; boundary=b")[0]


@pytest.mark.django_db(transaction=True)
def test_the_workers_deliver_within_the_filter(allowed: Path, notified: socket.socket) -> None:
    if SERVERS.mariadb is None:
        pytest.skip("this run is not on MariaDB")
    with of_unit("portal-sync.service", allowed, notified) as process:
        assert notified.recv(4096) == b"READY=1"
        assert is_filtered(process.pid)
        done = finished(manage("dual_write_test", **variables()), 120)
        assert done.status == 0, done.output
        assert process.terminate() == 0
        assert "Traceback" not in process.output
        assert "not permitted" not in process.output
