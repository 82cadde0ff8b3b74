"""A wrong value is reported in one line that names its variable, before anything runs, and never as a traceback."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from analytics_site.environment import Environment, Misconfigured
from sync.tests.support.processes import Process, finished, python
from tests.servers import ROOT, free_port

SETTINGS = (ROOT / "docs" / "reference" / "settings.md").read_text()
PRODUCTION = (ROOT / "docs" / "how-to" / "production.md").read_text()
VARIABLES = re.findall(r"^\| `([A-Z_]+)` \| .+ \| .+ \|$", SETTINGS, re.MULTILINE)
OF_SCRIPT_SERVER = {"PORT", "MONGOD_PORT"}  # read by script/server; test_server.py tests them
SECRET = "hush-hush-42"

# Wrong values of each variable.
NOT_A_NUMBER = ["abc", "1.2.3", "0x10", "1e999", "-1", "9" * 400, "nan", "½"]
NOT_A_TIME = [*NOT_A_NUMBER, "inf", "-inf", "0", "-0.5", "1,5", "10s"]
NOT_WHOLE = [*NOT_A_NUMBER, "1.5", "inf"]
NOT_A_BOOLEAN = ["flase", "2", "yes please", "None", "-1"]
NOT_JSON = [
    "{",
    "[]",
    "1",
    '"text"',
    "null",
    '{"a": NaN}',
    '{"a": {}}',
    '{"a": [1]}',
    '{"a": "1", "a": "2"}',
    "{'a': 1}",
]
WRONG = {
    "SECRET_KEY": [],  # any value is right; other tests cover a missing one
    "DEBUG": NOT_A_BOOLEAN, "HTTPS": NOT_A_BOOLEAN, "SYNC_INLINE": NOT_A_BOOLEAN,
    "SYNC_FOLLOW_BINLOG": NOT_A_BOOLEAN,
    "REQUIRE_MFA": ["managers", "staff;customer", "1"], "ENCRYPTION_KEYS": ["short", "x" * 32 + ",y"],
    "SECRET_KEY_FALLBACKS": [],
    "ALLOWED_HOSTS": ["https://portal.example.com", "a b", "portal.example.com/path", "a,https://b",
                      "portal.example.com:443"],
    "PORTAL_NAME": ["Portal: ours", "<b>Portal</b>", "two\nlines", "-", "x" * 65],
    "PORTAL_ORIGIN": ["portal.example.com", "https://a/path", "https://a/", "ftp://a", "https://a b"],
    "CSRF_TRUSTED_ORIGINS": ["portal.example.com", "https://a,b", "ftp://a", "https://a/path"],
    "TRUSTED_PROXIES": NOT_WHOLE, "CONN_MAX_AGE": NOT_WHOLE,
    "DATABASE_URL": ["nonsense", "mysq://a@b/c", "postgres://a@b/c", "mysql://a@b:port/c", "mysql://a@b:99999/c",
                     "mysql://a@b/", "sqlite://relative.db", "mysql://[::1/c", "://"],
    "MONGODB_URI": ["nonsense", "http://a/b", "mongodb://", "mongodb:/a/b", "mongodb://a b/c"],
    "EXAMPLES": ["reatil", "retail;news", "news,nothing", "..", "news.models"],
    "SYNC_INLINE_TIMEOUT": NOT_A_TIME, "SYNC_CONFIRM": NOT_A_TIME, "SYNC_TIMEOUT": NOT_A_TIME, "SYNC_LEASE": NOT_A_TIME,
    "SYNC_SETTLE": NOT_A_TIME, "SYNC_BREAKER_RESET": [each for each in NOT_A_TIME if each != "0"],
    "SYNC_INLINE_MAX_KEYS": [*NOT_WHOLE, "0"], "SYNC_BATCH": [*NOT_WHOLE, "0"], "SYNC_MAX_ATTEMPTS": [*NOT_WHOLE, "0"],
    "SYNC_KAFKA_PARTITIONS": [*NOT_WHOLE, "0"],
    "SYNC_TARGETS": [*NOT_JSON, '{"eu": 1}', '{"eu": "http://a/b"}'], "SYNC_KAFKA": NOT_JSON,
    "SYNC_FILES": ["two\nlines", "  "],
    "SYNC_KAFKA_PREFIX": ["a b", "a/b", "ä", "x" * 300], "SYNC_METRICS_TOKEN": ["two\nlines", "  "],
    "SYNC_ALERT_EMAILS": ["ops", "a@b@c", "ops@example.com,nobody"], "SYNC_ALERT_WEBHOOK_SECRET": ["two\nlines", "  "],
    "SYNC_ALERT_WEBHOOK": ["hooks.example.com", "ftp://a/b", "file:///etc/passwd", "https://a b", "gopher://a"],
    "SYNC_VERIFY_EVERY": [each for each in NOT_A_TIME if each != "0"],
    "SYNC_ALERT_AFTER": NOT_A_TIME, "SYNC_ALERT_LAG": NOT_A_TIME,
    "CURRENCY": ["$", "usd", "EURO"],
    "AUDIT_DAYS": NOT_WHOLE, "SESSION_IDLE": [*NOT_WHOLE, "0"], "SESSION_LONGEST": [*NOT_WHOLE, "0"],
    "CACHE_URL": ["nonsense", "redis", "filecache://", "rediscache://", "ftp://a", "memcache://cache:11211"],
    "VAR_DIR": ["/dev/null/var", "/proc/var"], "MEDIA_ROOT": ["/dev/null", "/dev/null/media"],
    "STATIC_ROOT": ["/dev/null", "/dev/null/static"],
    "EMAIL_URL": ["nonsense", "smtp://", "smtp+tls://a:port", "http://a"],
    "DEFAULT_FROM_EMAIL": ["nobody", "a@b@c", "two\nlines@example.com"],
    "SUPPORT_EMAIL": ["help", "a@b@c", "Help <help@example.com>", "two\nlines@example.com"],
    "SENTRY_DSN": ["sentry.example.com", "https://sentry.example.com/1", "https://key@a b/1"],
    "OTEL_EXPORTER_OTLP_ENDPOINT": ["collector:4318", "grpc://collector:4317", "http://a b"],
    "LOG_FORMAT": ["xml", "text,json"], "LOG_LEVEL": ["LOUD", "10"],
}  # fmt: skip


def read(monkeypatch: pytest.MonkeyPatch, **variables: str) -> list[str]:
    """The mistakes that the settings report."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    try:
        runpy.run_path(str(ROOT / "analytics_site" / "settings.py"))
    except Misconfigured as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize("name", [name for name in VARIABLES if name not in OF_SCRIPT_SERVER])
def test_every_wrong_value_is_reported_in_one_line_that_names_the_variable(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert name.startswith("SECRET_KEY") or WRONG[name]
    for value in WRONG[name]:
        [line] = read(monkeypatch, **{name: value})
        assert line.startswith(f"{name} is "), line
        assert ": it must be " in line
        assert len(line) < 400
        assert "not shown" in line or "***" in line or value.split("\n")[0][:40] in line, line


def test_the_documented_production_values_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    [block] = re.findall(r"```ini\n(.+?)```", PRODUCTION, re.DOTALL)
    assert read(monkeypatch, **dict(line.split("=", 1) for line in block.splitlines())) == []


@pytest.mark.parametrize("name", [name for name in VARIABLES if name not in OF_SCRIPT_SERVER | {"SECRET_KEY"}])
def test_an_empty_value_counts_as_unset(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert read(monkeypatch, **{name: ""}) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("DATABASE_URL", f"mysq://me:{SECRET}@db/x"), ("DATABASE_URL", f"mysql:me:{SECRET}@db/x"),
     ("DATABASE_URL", f"mysql://me:{SECRET}?x@db:port/x"), ("DATABASE_URL", f"mysql://me:a@{SECRET}@db:port/x"),
     ("DATABASE_URL", f"mysql://me:{SECRET}"), ("MONGODB_URI", f"mongo://me:{SECRET}@a/b?replicaSet=rs0"),
     ("MONGODB_URI", f"http://a/b?password={SECRET}"), ("EMAIL_URL", f"smpt://me%40example.com:{SECRET}@mail:587"),
     ("CACHE_URL", f"reddis://:{SECRET}@cache:6379/1"), ("SYNC_TARGETS", f'{{"eu": "mongodb://me:{SECRET}@a/b"'),
     ("SYNC_KAFKA", f'{{"sasl.password": "{SECRET}"'), ("SYNC_METRICS_TOKEN", f"{SECRET}\n"),
     ("SECRET_KEY", f"{SECRET}\n")],
)  # fmt: skip
def test_no_reported_mistake_contains_a_secret(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    [line] = read(monkeypatch, **{name: value})
    assert line.startswith(name)
    assert SECRET not in line


@pytest.mark.parametrize(("url", "library"), [("rediscache://cache:6379/1", "redis"), ("pylibmc://cache:1", "pylibmc")])
def test_a_missing_cache_library_is_reported(url: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    assert read(monkeypatch, CACHE_URL=url) == [
        f"CACHE_URL needs a library that is not installed: pip install {library}."
    ]


@pytest.mark.parametrize(
    ("name", "value", "module"),
    [("SENTRY_DSN", "https://key@sentry.example.com/1", "sentry_sdk"),
     ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318", "opentelemetry")],
)  # fmt: skip
def test_a_missing_package_of_telemetry_is_reported(
    name: str, value: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert read(monkeypatch, **{name: value}) == [
        f"{name} needs packages that are not installed: pip install -r requirements-telemetry.txt."
    ]


def test_a_session_longest_below_the_default_idle_time_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, SESSION_LONGEST="3600") == [
        "SESSION_LONGEST is '3600': it must not be shorter than SESSION_IDLE, whose default is 7200."
    ]


def portal(*command: str, cwd: Path = ROOT, **variables: str) -> Process:
    """Runs a program with the portal's own settings, not those of the tests, until it ends."""
    return finished(python(*command, cwd=cwd, DJANGO_SETTINGS_MODULE="analytics_site.settings", **variables))


@pytest.mark.parametrize(
    "command",
    [("manage.py", "check"), ("manage.py", "sync", "status"), ("manage.py", "migrate"),
     ("-m", "gunicorn", "--no-control-socket", "--bind", f"127.0.0.1:{free_port()}", "analytics_site.wsgi")],
    ids=lambda command: " ".join(command[:3]),
)  # fmt: skip
def test_all_mistakes_are_reported_together_with_exit_status_2_and_no_traceback(command: tuple[str, ...]) -> None:
    done = portal(*command, SYNC_BATCH="abc", SYNC_LEASE="-3", SESSION_IDLE="100", SESSION_LONGEST="50", SECRET_KEY="")
    assert done.status == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "Set SECRET_KEY (script/bootstrap writes one into .env for a trial).",
        "SYNC_LEASE is '-3': it must be a number from 0.001 to 86400.",
        "SYNC_BATCH is 'abc': it must be a whole number from 1 to 100000.",
        "SESSION_IDLE is '100': it must not be longer than SESSION_LONGEST, 50.",
    ]


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [("SYNC_LEASE", "1", "SYNC_TIMEOUT and SYNC_INLINE_TIMEOUT must be shorter than SYNC_LEASE."),
     ("MONGODB_URI", "mongodb://127.0.0.1:1", "MONGODB_URI names no database.")],
)  # fmt: skip
def test_contradictory_settings_stop_the_web_server_and_the_sync_commands(name: str, value: str, line: str) -> None:
    bind = f"127.0.0.1:{free_port()}"
    web = portal("-m", "gunicorn", "--no-control-socket", "--bind", bind, "analytics_site.wsgi", **{name: value})
    assert web.status == 3
    assert line in web.stderr.splitlines()
    assert "Traceback" not in web.stderr
    command = portal("manage.py", "sync", "verify", **{name: value})
    assert command.status == 2, "exit status 1 would mean a mismatch"
    assert line in command.stderr


def test_gunicorn_started_in_another_folder_stops_too(tmp_path: Path) -> None:
    bind = f"127.0.0.1:{free_port()}"
    command = ["-m", "gunicorn", "--no-control-socket", "--bind", bind, "--chdir", str(ROOT), "analytics_site.wsgi"]
    done = portal(*command, cwd=tmp_path, SYNC_BATCH="abc")
    assert done.status != 0
    assert "SYNC_BATCH is 'abc': it must be" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_sync_variable_is_a_warning() -> None:
    done = portal("manage.py", "check", SYNC_BATCHES="7", SYNC_ZZZ="1")
    assert done.status == 0
    warnings = re.findall(r"Unknown variable .+", done.stderr)
    assert warnings == [
        "Unknown variable SYNC_BATCHES: its value has no effect. Did you mean SYNC_BATCH?",
        "Unknown variable SYNC_ZZZ: its value has no effect.",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [("A=1\nSYNC_BATCH: 7\n", 2), ("A = 1\n", 1), (f'SECRET_KEY="{SECRET}\n', 1), ("A=1\n\n# x\n  B=2\n", 4),
     ("just text\n", 1), ("1A=2\n", 1), (f"SECRET_KEY='{SECRET}\n", 1)],
    ids=ascii,
)  # fmt: skip
def test_a_malformed_line_of_the_env_file_is_reported_by_number(tmp_path: Path, text: str, line: int) -> None:
    file = tmp_path / ".env"
    file.write_text(text)
    assert Environment(file).mistakes == [f"{file}, line {line} is not NAME=value. Check its name, spaces and quotes."]


def test_the_env_file_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text(
        '\ufeffexport A=1\n\n# a comment\nB=\'two words\'\nC="a\\nb"\nD={"x": "y=z"}\nE=\nF=a#b\nG=\'{"x": 1}\'\n'
        "H=from the file\nB=the last one wins\nI=$B\n"
    )
    monkeypatch.setenv("H", "from the environment")
    found = Environment(file)
    assert found.mistakes == []
    assert {name: found.values[name] for name in "ABCDEFGHI"} == {
        "A": "1", "B": "the last one wins", "C": "a\\nb", "D": '{"x": "y=z"}', "E": "", "F": "a#b", "G": '{"x": 1}',
        "H": "from the environment", "I": "$B",
    }  # fmt: skip


def test_an_unreadable_env_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin").write_bytes(b"A=\xe9\n")
    assert Environment(tmp_path / "nowhere").mistakes == []
    [folder] = Environment(tmp_path / "folder").mistakes
    [latin] = Environment(tmp_path / "latin").mistakes
    assert folder == f"{tmp_path}/folder cannot be read: Is a directory. Correct or remove it."
    assert latin == f"{tmp_path}/latin cannot be read: it is not UTF-8 text. Correct or remove it."


def test_a_mistake_in_the_env_file_stops_a_command(tmp_path: Path) -> None:
    """Runs a copy of the portal, because the file is read from the folder of manage.py."""
    for path in ROOT.iterdir():
        if path.name == "analytics_site":
            shutil.copytree(path, tmp_path / path.name)
        elif path.name == "manage.py":
            shutil.copy(path, tmp_path)
        elif path.is_dir() and not path.name.startswith("."):
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / ".env").write_text("SYNC_BATCH=many\nSYNC LEASE=3\n")
    done = portal("manage.py", "check", cwd=tmp_path)
    assert done.status == 2
    assert done.stderr.splitlines() == [
        f"{tmp_path}/.env, line 2 is not NAME=value. Check its name, spaces and quotes.",
        "SYNC_BATCH is 'many': it must be a whole number from 1 to 100000.",
    ]


def test_the_demo_script_reports_mistakes_too(tmp_path: Path) -> None:
    variables = {"VAR_DIR": str(tmp_path / "var"), "PORT": str(free_port()), "SYNC_BATCH": "abc"}
    done = portal("script/serve.py", **variables)
    assert done.status == 2
    assert done.stderr.splitlines() == ["SYNC_BATCH is 'abc': it must be a whole number from 1 to 100000."]
