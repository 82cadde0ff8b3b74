"""The steps of script/fresh-machine. Needs only Python, and stops at the first failure."""

import http.cookiejar
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEPT = Path(os.environ.get("FRESH_MACHINES") or "/var/tmp/portal-fresh")  # noqa: S108  (root's own folder)
# suite: (its mirror, components, debootstrap's recipe for it, in case this debootstrap is older than the suite)
SUITES = {
    "bookworm": ("http://deb.debian.org/debian", "main", "sid"),
    "noble": ("http://archive.ubuntu.com/ubuntu", "main,universe", "gutsy"),
}
WEB, MONGOD = 28000, 28117
PASSWORD = "correct-horse-7"  # noqa: S105  (of a user who registers here)
LOG = KEPT / "server.log"


def say(text: str) -> None:
    print(f"-- {text}", flush=True)


def make(suite: str) -> Path:
    """A bare machine with a clone in /root/portal. The bare part is made once, and copied."""
    mirror, components, recipe = SUITES[suite]
    bare, machine = KEPT / suite, KEPT / f"{suite}.machine"
    if not bare.exists():
        say(f"making a bare {suite}")
        unfinished = KEPT / f"{suite}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        command = ["debootstrap", "--variant=minbase", "--include=python3", f"--components={components}"]
        keyring = next(Path("/usr/share/keyrings").glob("ubuntu-archive-keyring.gpg"), None)
        if suite == "noble":
            command += [f"--keyring={keyring}"] if keyring else sys.exit("Install ubuntu-keyring first.")
        known = Path("/usr/share/debootstrap/scripts", suite).exists()
        subprocess.run(
            [*command, suite, str(unfinished), mirror, *([] if known else [recipe])],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        unfinished.rename(bare)
    shutil.rmtree(machine, ignore_errors=True)
    subprocess.run(["cp", "-a", str(bare), str(machine)], check=True)
    configure(machine, suite)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(machine / "root/portal")], check=True)
    return machine


def configure(machine: Path, suite: str) -> None:
    """As this machine is: name resolution, certificates, and where packages come from."""
    same_system = f"VERSION_CODENAME={suite}" in Path("/etc/os-release").read_text()
    paths = ["/etc/resolv.conf", "/etc/hosts", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"]
    paths += ["/usr/local/share/ca-certificates", "/etc/apt/apt.conf.d", *os.environ.get("PIP_FIND_LINKS", "").split()]
    paths += ["/etc/apt/sources.list", "/etc/apt/sources.list.d", "/etc/apt/trusted.gpg.d"] if same_system else []
    for path in filter(os.path.exists, paths):
        (machine / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-aLT", path, str(machine / path[1:])], check=True)
    subprocess.run(["mount", "-t", "proc", "proc", str(machine / "proc")], check=True)


def start(machine: Path, *command: str, output: int | None = None) -> subprocess.Popen:
    """A command in the clone, as in a new shell of that machine, in a process group that Ctrl-C reaches."""
    kept = {name: value for name, value in os.environ.items() if re.match(r"(?i)PIP_|(https?|no|all)_proxy$", name)}
    kept |= {"HOME": "/root", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    return subprocess.Popen(
        ["chroot", str(machine), "sh", "-c", 'cd /root/portal && exec "$@"', "sh", *command],
        env=kept | {"PORT": str(WEB), "MONGOD_PORT": str(MONGOD)}, stdin=subprocess.DEVNULL,
        stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def start_server(machine: Path) -> tuple[subprocess.Popen, str]:
    """script/server, when it has said that it is ready, and what it said."""
    started = time.monotonic()
    with LOG.open("wb") as log:
        server = start(machine, "script/server", output=log.fileno())
    while "Ctrl-C stops it" not in LOG.read_text():
        if server.poll() is not None:
            sys.exit(f"script/server ended:\n{LOG.read_text()}")
        time.sleep(0.2)
    time.sleep(0.5)
    print(LOG.read_text())
    say(f"ready after {time.monotonic() - started:.0f} s")
    return server, LOG.read_text()


def stop_server(machine: Path, server: subprocess.Popen) -> None:
    os.killpg(server.pid, signal.SIGINT)
    expect(server.wait(60) == 0, "Ctrl-C ends it with status 0")
    # Whatever runs in this process namespace and not in the caller's root, runs in the machine.
    left = [p for p in Path("/proc").glob("[0-9]*") if os.path.realpath(p / "root") == str(machine)]
    expect(left == [], f"nothing is left running {[(p / 'cmdline').read_text() for p in left] or ''}")


def expect(true: bool, what: str) -> None:
    if not true:
        sys.exit(f"FAILED: {what}")
    say(what)


class Visitor:
    """A user's browser, as far as forms need one."""

    def __init__(self) -> None:
        self.cookies = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def get(self, path: str, **form: str) -> tuple[str, str]:
        """Follows redirects; the path where it ends, and the page. With fields: opens the page, then posts them."""
        url = f"http://127.0.0.1:{WEB}{path}"
        data = None
        if form:
            self.get(path)
            token = next(cookie.value or "" for cookie in self.cookies if cookie.name == "csrftoken")
            data = urllib.parse.urlencode(form | {"csrfmiddlewaretoken": token}).encode()
        with self.opener.open(url, data, timeout=30) as answer:
            return urllib.parse.urlparse(answer.url).path, answer.read().decode()

    def log_in(self, username: str, password: str) -> str:
        return self.get("/login/?next=/dashboard/", login=username, password=password)[0]


def main() -> int:
    suite = sys.argv[1] if len(sys.argv) > 1 else "bookworm"
    if suite not in SUITES:
        sys.exit(f"Usage: script/fresh-machine [{'|'.join(SUITES)}]")
    KEPT.mkdir(parents=True, exist_ok=True)
    machine = make(suite)
    server, said = start_server(machine)
    logins = re.findall(r"(\w+) / (demo-\S+)", said)
    expect(len(logins) == 3, "it prints one login for each role")
    pages = {Visitor().log_in(*login) for login in logins}
    expect(len(pages) == 3 and not {"/login/", "/dashboard/"} & pages, f"each lands on their own page: {pages}")
    newcomer = {"username": "newcomer", "email": "newcomer@example.com", "first_name": "New", "last_name": "Comer"}
    passwords = {"password1": PASSWORD, "password2": PASSWORD}
    where, _ = Visitor().get("/register/", **newcomer, **passwords, requested_role="")
    expect(where != "/register/", f"a user registers and is sent to {where}")
    stop_server(machine, server)

    server, said = start_server(machine)
    expect("Installing" not in said and "Loading" not in said, "the second start installs and loads nothing")
    expect(Visitor().log_in("newcomer", PASSWORD) != "/login/", "the newcomer logs in: the data is kept")
    stop_server(machine, server)

    tests = start(machine, "script/test", "accounts/tests/test_roles.py", "tests/test_browser.py")
    expect(tests.wait() == 0, "script/test installs what it needs, and tests pass, in Chromium too")
    subprocess.run(["umount", str(machine / "proc")], check=True)
    shutil.rmtree(machine)
    return 0


if __name__ == "__main__":
    sys.exit(main())
