"""Runs the portal on this machine, from `script/server`: MongoDB, then the web server and the mirror's workers.

Everything it starts ends with it: on Ctrl-C or SIGTERM in order, MongoDB last.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# Python discards a KeyboardInterrupt in some places, such as the imports' own callbacks. Until `stop_on`, there is
# nothing to stop in order, so Ctrl-C ends the process itself.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import mongod  # noqa: E402
from pymongo.errors import PyMongoError  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
# Should this process be killed outright, the kernel ends what it started. (util-linux; elsewhere it is left out.)
END_WITH_US = ("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()


def port(variable: str, default: int) -> int:
    """The port that the variable names; ends the program if it is no free port."""
    text = os.environ.get(variable) or str(default)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(text)))
        except PermissionError:
            fail(f"Port {text} needs root: set {variable} to one above 1023.")
        except OSError:
            fail(f"Port {text} is in use: stop what listens there, or set {variable} to another port.")
        except (ValueError, OverflowError):
            fail(f"{variable} is '{text}', which is not a port: set it to a number from 1024 to 65535.")
    return int(text)


def fail(message: str) -> None:
    print(message, file=sys.stderr)
    sys.exit(2)


@contextmanager
def bundled_mongod(dbpath: Path, number: int) -> Iterator[None]:
    try:
        process = mongod.start(dbpath, number, prefix=END_WITH_US)
    except mongod.DidNotStart as error:
        fail(str(error))
    try:
        try:
            mongod.initiate(number)
        except PyMongoError as error:
            fail(f"mongod does not become primary: {error}; see {dbpath / 'mongod.log'}")
        yield
    finally:
        process.terminate()
        end(process)


def prepare() -> None:
    """Creates tables and, in a trial without users, demo data and demo users."""
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.db import OperationalError, connection

    try:
        connection.ensure_connection()
    except OperationalError as error:
        fail(f"The database of DATABASE_URL does not respond: {error}")
    call_command("migrate", verbosity=0)
    if not settings.DEBUG:
        call_command("collectstatic", interactive=False, verbosity=0)
    elif not has_users():  # which load_demo makes last, so that an interrupted one is repeated
        print("Loading made-up data, once", flush=True)
        call_command("load_demo")
    connection.close()


def has_users() -> bool:
    from accounts.models import User

    return User.objects.exists()


def greet(number: int) -> None:
    """The address, and the demo's people who still have the demo's password."""
    from accounts.managers import DEMO_PASSWORD
    from accounts.models import User

    print(f"\nThe portal is at http://127.0.0.1:{number}/ - Ctrl-C stops it.")
    for user in User.objects.filter(is_demo=True).order_by("pk"):
        if user.check_password(DEMO_PASSWORD):
            print(f"  {user.get_role_display():<20} {user.username} / {DEMO_PASSWORD}")
    print(flush=True)


def answers(number: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", number), timeout=1):
        return True
    return False


def serve(number: int) -> int:
    """Runs the web server and the workers until a signal comes, or until one of them ends by itself."""
    # fmt: off
    web = ["gunicorn", "--no-control-socket", "--bind", f"127.0.0.1:{number}", "--workers", "2", "--threads", "4",
           "--graceful-timeout", "5", "--log-level", "warning", "analytics_site.wsgi"]
    # fmt: on
    commands = {"web server": web, "worker": [sys.executable, "manage.py", "sync", "run"]}
    processes: dict[str, subprocess.Popen] = {}
    greeted = False
    try:
        for name, command in commands.items():
            # A session of its own: Ctrl-C in the terminal reaches this process only, which stops things in order.
            processes[name] = subprocess.Popen([*END_WITH_US, *command], start_new_session=True)
        # Looks, and never waits: a signal that comes just before a wait would go unseen until something else happens.
        while not STOPPING.is_set():
            for name, process in processes.items():
                if process.poll() is not None:
                    print(f"The {name} ended by itself, with status {process.returncode}", file=sys.stderr)
                    return 1
            if not greeted and answers(number):
                greet(number)
                greeted = True
            time.sleep(0.1)
        return 0
    finally:
        print("\nStopping", flush=True)
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            end(process)


def end(process: subprocess.Popen) -> None:
    """Waits for a process that was told to end, longer than it may need; then ends it."""
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


STOPPING = threading.Event()


def stop_on(*signals: int) -> None:
    """Ends this process at the first signal.

    Python discards an exception in some places, such as a finalizer, so the loop in `serve` looks at STOPPING, too.
    """

    def stop(number: int, frame: Any) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)  # stopping is under way and takes seconds; let it finish
        STOPPING.set()
        sys.exit(0)

    for number in signals:
        signal.signal(number, stop)


def main() -> int:
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    from analytics_site.environment import Environment, Misconfigured

    try:
        variables = Environment(ROOT / ".env")
        variables.require_valid()
        os.environ.update(variables.values)
        return run()
    except Misconfigured as error:
        error.end_program()


def run() -> int:
    os.environ["DJANGO_SETTINGS_MODULE"] = "analytics_site.settings"
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    stop_on(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    web = port("PORT", 8000)
    if os.environ.get("MONGODB_URI"):
        prepare()
        return serve(web)
    mongo = port("MONGOD_PORT", 27117)
    os.environ["MONGODB_URI"] = f"mongodb://127.0.0.1:{mongo}/analytics?replicaSet={mongod.REPLICA_SET}"
    with bundled_mongod(Path(os.environ.get("VAR_DIR") or ROOT / "var") / "mongodb", mongo):
        prepare()
        return serve(web)


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
