"""script/image builds the portal's image, and its processes serve the portal. Needs root, as buildah does here.

The base and the layers stay in var/image, or in IMAGE_STORE, so that only what has changed is built again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from accounts.managers import DEMO_PASSWORD
from accounts.models import User
from sync.tests.support.processes import Process, database_url
from tests.deploy.visitor import Visitor, make_user
from tests.servers import ROOT, SERVERS, free_port

LARGEST = 250  # MB, unpacked
BY_THE_RUNTIME = r"(tmp|var/lib/portal|run|dev|proc)/|etc/(hosts|hostname|resolv\.conf)$|marker$"
STORE = Path(os.environ.get("IMAGE_STORE", ROOT / "var" / "image"))
BUILDAH = ["buildah", "--root", str(STORE / "storage"), "--runroot", str(STORE / "run")]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.getuid() != 0 or not shutil.which("buildah"), reason="needs root and buildah"),
]


def buildah(*arguments: str) -> str:
    return subprocess.run([*BUILDAH, *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def size() -> float:
    """In MB, of the image that is built now."""
    began = time.monotonic()
    done = subprocess.run(
        ["script/image"], cwd=ROOT, env=os.environ | {"IMAGE_STORE": str(STORE)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    print(f"\n{done.stdout.strip()}, built in {time.monotonic() - began:.0f} s")
    return float(re.findall(r"localhost/portal:latest ([\d.]+) MB", done.stdout)[0])


@pytest.fixture(scope="module")
def container(size: float) -> Iterator[str]:
    name = buildah("from", "localhost/portal")
    yield name
    buildah("rm", name)


@pytest.fixture(scope="module")
def files(container: str) -> Iterator[Path]:
    """The image's root file system."""
    yield Path(buildah("mount", container))
    buildah("umount", container)


def variables() -> dict[str, str]:
    """What an operator sets, for a portal without HTTPS on the test's databases."""
    return {
        "SECRET_KEY": "tests-only", "DATABASE_URL": database_url(), "MONGODB_URI": os.environ["MONGODB_URI"],
        "ALLOWED_HOSTS": "portal.example.com,localhost", "HTTPS": "0", "CURRENCY": "USD", "REQUIRE_MFA": "none",
        "PORTAL_ORIGIN": "http://localhost:8000",
    }  # fmt: skip


def inside(container: str, *command: str, **changes: str) -> Process:
    """A process of the container, as the image's user."""
    options = [word for name, value in (variables() | changes).items() for word in ("--env", f"{name}={value}")]
    return Process(*BUILDAH, "run", "--isolation", "chroot", *options, container, "--", *command)


def test_it_is_small(size: float) -> None:
    assert size < LARGEST


def test_it_has_a_user_a_volume_and_a_health_check(size: float) -> None:
    config = json.loads(buildah("inspect", "--type", "image", "localhost/portal"))["Docker"]["config"]
    assert config["User"] == "10001:10001"
    assert config["Volumes"] == {"/var/lib/portal": {}}
    assert config["Healthcheck"]["Test"] == ["CMD", "python", "/portal/app/deploy/healthcheck.py"]
    assert not [each for each in config["Env"] if re.match("SECRET|PASSWORD|DATABASE_URL", each)]


def test_it_has_nothing_of_the_demo_the_tests_or_this_machine(files: Path) -> None:
    app = files / "portal" / "app"
    assert (app / "manage.py").exists()
    names = {path.name for path in app.rglob("*")}
    assert not names & {"tests", "examples", "bench", "docs", "script", ".env", ".git", "var"}
    assert not names & {"demo.py", "load_demo.py", "requirements-demo.txt"}
    everything = [Path(folder, name) for folder, _, names in os.walk(files) for name in names]
    assert not [path for path in everything if path.name in {"mongod", "mongosh", "gcc", "pip.conf"}]
    assert not [path for path in everything if re.match(r"fiftyone|faker", path.parent.name, re.IGNORECASE)]
    assert not [path for path in everything if path.lstat().st_mode & 0o6000 and not path.is_symlink()], "setuid"


def test_its_user_can_write_to_the_volume_and_tmp_only(container: str) -> None:
    find = "find / -xdev ( -path /proc -o -path /sys -o -path /dev ) -prune -o -writable ! -type l -print"
    with inside(container, *find.split()) as process:
        process.wait()
    writable = [line for line in process.stdout.splitlines() if line.startswith("/")]
    outside = [path for path in writable if not re.match(r"/(tmp|var/tmp|var/lib/portal|run/lock)(/|$)", path)]
    assert outside == []
    assert "/var/lib/portal" in writable


@pytest.mark.django_db(transaction=True)
def test_its_processes_serve_the_portal(container: str, files: Path) -> None:
    if SERVERS.mariadb is None:
        pytest.skip("this run is not on MariaDB")
    make_user()
    User.objects.create_demo_user("demo", "customer", "A", "B")
    with inside(container, "python", "manage.py", "migrate", "--check") as process:
        assert process.wait() == 0, process.output
    with inside(container, "python", "manage.py", "load_demo") as process:
        assert process.wait() == 1
        assert "Unknown command: 'load_demo'" in process.output
    (files / "marker").touch()
    bind = f"127.0.0.1:{free_port()}"
    origin = f"http://{bind.replace('127.0.0.1', 'localhost')}"
    web = ["gunicorn", "--no-control-socket", "--bind", bind, "--threads", "4", "analytics_site.wsgi"]
    with (
        inside(container, *web, PORTAL_ORIGIN=origin) as server,
        inside(container, "python", "manage.py", "sync", "run") as workers,
    ):
        server.until_it_says("Listening at")
        workers.until_it_says("Running: relay")
        for changes, status in (({}, 0), ({"PORTAL_ORIGIN": "", "ALLOWED_HOSTS": "another.example.com"}, 1)):
            port = bind.rpartition(":")[2]
            with inside(container, "python", "deploy/healthcheck.py", port, **changes) as process:
                assert process.wait() == status, process.output
        visitor = Visitor(origin)
        visitor.log_in()
        assert visitor.is_logged_in
        status, headers, _ = visitor.open(stylesheet(visitor))
        assert status == 200
        assert "immutable" in headers["cache-control"]
        refused = Visitor(origin).log_in("demo", DEMO_PASSWORD)
        assert "not correct" in refused or "inactive" in refused.lower()
        with inside(container, "python", "manage.py", "dual_write_test") as process:
            assert process.wait(120) == 0, process.output
        assert terminate(workers) == 0, workers.output
        assert terminate(server) == 0, server.output
    written = {str(path.relative_to(files)) for path in files.rglob("*") if is_newer(path, files / "marker")}
    (files / "marker").unlink()
    assert not [path for path in written if not re.match(BY_THE_RUNTIME, path)]


def terminate(process: Process) -> int:
    """Sends SIGTERM to the container's program: buildah itself would kill it. Returns the exit status."""
    number = process.pid
    while "buildah" in Path(f"/proc/{number}/cmdline").read_text().split("\0")[0]:
        [number] = [
            int(each) for file in Path(f"/proc/{number}/task").glob("*/children") for each in file.read_text().split()
        ]
    os.kill(number, signal.SIGTERM)
    return process.wait()


def is_newer(path: Path, than: Path) -> bool:
    return path.is_file() and not path.is_symlink() and path.lstat().st_mtime > than.stat().st_mtime


def stylesheet(visitor: Visitor) -> str:
    return re.findall(r'href="(/static/[^"]+\.css)"', visitor.open("/login/")[2].decode())[0]


@pytest.mark.django_db(transaction=True)
def test_it_runs_with_a_read_only_root_file_system(container: str, files: Path) -> None:
    """As with `docker run --read-only`: only /tmp and the volume can be written to."""
    if SERVERS.mariadb is None:
        pytest.skip("this run is not on MariaDB")
    make_user()
    bind = f"127.0.0.1:{free_port()}"
    origin = f"http://{bind.replace('127.0.0.1', 'localhost')}"
    web = ["gunicorn", "--no-control-socket", "--bind", bind, "--threads", "4", "analytics_site.wsgi"]
    with (
        read_only(files, *web, PORTAL_ORIGIN=origin) as server,
        read_only(files, "python", "manage.py", "sync", "run") as workers,
    ):
        server.until_it_says("Listening at")
        workers.until_it_says("Running: relay")
        visitor = Visitor(origin)
        visitor.log_in()
        assert visitor.is_logged_in
        assert "Read-only file system" not in server.output + workers.output
        assert workers.terminate() == 0, workers.output
        server.terminate()


READ_ONLY = """
mount --bind "$0" "$0"
mount -t tmpfs tmpfs "$0/tmp" -o mode=1777
mount -t tmpfs tmpfs "$0/var/lib/portal" -o uid=10001,gid=10001
mount --rbind /dev "$0/dev"
mount -o remount,ro,bind "$0"
exec chroot --userspec=10001:10001 "$0" /usr/bin/env -C /portal/app "$@"
"""


def read_only(files: Path, *command: str, **changes: str) -> Process:
    """A process of the image's user on its files, mounted in a namespace of its own, which ends with the process."""
    given = [f"{name}={value}" for name, value in (variables() | changes).items()]
    config = json.loads(buildah("inspect", "--type", "image", "localhost/portal"))["Docker"]["config"]
    return Process("unshare", "--mount", "bash", "-euc", READ_ONLY, str(files), "-i", *config["Env"], *given, *command)
