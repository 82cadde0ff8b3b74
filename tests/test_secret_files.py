"""Each variable that may hold a secret can be given as the path of a file: NAME_FILE."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from analytics_site.environment import SECRETS, Environment, Misconfigured
from analytics_site.errors import SECRET as SECRET_NAMES
from tests.servers import ROOT

SETTINGS = ROOT / "analytics_site" / "settings.py"
PAGE = (ROOT / "docs" / "reference" / "settings.md").read_text()
SECRET = "hush-hush-42"
WEBHOOK = f"https://chat.example.com/{SECRET}"
# A value of each, the setting that it ends in, and what that is then.
VALUES: dict[str, tuple[str, str, Any]] = {
    "SECRET_KEY": (SECRET, "SECRET_KEY", SECRET),
    "SECRET_KEY_FALLBACKS": (f"{SECRET},b", "SECRET_KEY_FALLBACKS", [SECRET, "b"]),
    "ENCRYPTION_KEYS": (SECRET * 3, "ENCRYPTION_KEYS", [SECRET * 3]),
    "DATABASE_URL": (f"mysql://me:{SECRET}@db/x", "DATABASES", SECRET),
    "CACHE_URL": (f"filecache:///tmp/{SECRET}", "CACHES", f"/tmp/{SECRET}"),
    "EMAIL_URL": (f"smtp://me:{SECRET}@mail:25", "EMAIL_HOST_PASSWORD", SECRET),
    "MONGODB_URI": (f"mongodb://me:{SECRET}@a/b", "MONGODB_URI", f"mongodb://me:{SECRET}@a/b"),
    "SYNC_TARGETS": (json.dumps({"eu": f"mongodb://me:{SECRET}@a/b"}), "SYNC_TARGETS", {"eu": f"mongodb://me:{SECRET}@a/b"}),
    "SYNC_KAFKA": (json.dumps({"sasl.password": SECRET}), "SYNC_KAFKA", {"sasl.password": SECRET}),
    "SYNC_METRICS_TOKEN": (SECRET, "SYNC_METRICS_TOKEN", SECRET),
    "SYNC_ALERT_WEBHOOK": (WEBHOOK, "SYNC_ALERT_WEBHOOK", WEBHOOK),
    "SYNC_ALERT_WEBHOOK_SECRET": (SECRET, "SYNC_ALERT_WEBHOOK_SECRET", SECRET),
}  # fmt: skip

pytestmark = pytest.mark.quick


def read() -> dict[str, Any]:
    return runpy.run_path(str(SETTINGS))


def mistakes() -> list[str]:
    with pytest.raises(Misconfigured) as caught:
        read()
    return str(caught.value).splitlines()


@pytest.mark.parametrize("name", sorted(SECRETS))
@pytest.mark.parametrize("end", ["", "\n"])
def test_a_secret_is_read_from_its_file(name: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, setting, expected = VALUES[name]
    (tmp_path / "secret").write_text(text + end)
    monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(f"{name}_FILE", str(tmp_path / "secret"))
    found = read()
    value = found[setting]
    value = {"DATABASES": lambda: value["default"]["PASSWORD"], "CACHES": lambda: value["default"]["LOCATION"]}.get(
        setting, lambda: value
    )()
    assert value == expected
    assert found["UNKNOWN_VARIABLES"] == []


def test_the_page_lists_these_variables() -> None:
    [section] = re.findall(r"^## Secrets in files\n(.+?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`([A-Z_]+)`", section)) - {"SECRET_KEY_FILE"} == SECRETS


def test_every_variable_with_the_name_of_a_secret_can_be_a_file() -> None:
    variables = set(re.findall(r"^\| `([A-Z_]+)` \|", PAGE, re.MULTILINE))
    named = {name for name in variables if SECRET_NAMES.search(name)} - {"SYNC_INLINE_MAX_KEYS"}
    addresses = {name for name in variables if name.endswith(("_URL", "_URI"))}
    assert named | addresses <= SECRETS <= variables


def test_a_variable_and_its_file_are_not_both_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text(SECRET)
    monkeypatch.setenv("SYNC_METRICS_TOKEN", SECRET)
    monkeypatch.setenv("SYNC_METRICS_TOKEN_FILE", str(tmp_path / "secret"))
    assert mistakes() == ["SYNC_METRICS_TOKEN and SYNC_METRICS_TOKEN_FILE are both set: unset one of them."]


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe", "folder"])
def test_a_file_without_a_secret_is_reported(content: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    monkeypatch.delenv("MONGODB_URI")
    monkeypatch.setenv("MONGODB_URI_FILE", str(path))
    [line] = mistakes()
    assert line.startswith(f"MONGODB_URI_FILE is '{str(path)[:60]}")
    assert ": it must be a " in line


def test_a_wrong_secret_in_a_file_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text(f"mysq://me:{SECRET}@db/x\n")
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "secret"))
    [line] = mistakes()
    assert line.startswith("DATABASE_URL is ")
    assert SECRET not in line


def test_without_either_the_message_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "")
    monkeypatch.setenv("SECRET_KEY_FILE", "")
    [line] = mistakes()
    assert line.startswith("Set SECRET_KEY ")


def test_a_file_of_the_environment_wins_over_the_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("of the file")
    (tmp_path / ".env").write_text("SECRET_KEY=of .env\n")
    monkeypatch.delenv("SECRET_KEY")
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "secret"))
    found = Environment(tmp_path / ".env")
    assert (found.values["SECRET_KEY"], found.mistakes) == ("of the file", [])
    monkeypatch.setenv("SECRET_KEY", "of the environment")
    monkeypatch.delenv("SECRET_KEY_FILE")
    (tmp_path / ".env").write_text(f"SECRET_KEY_FILE={tmp_path / 'secret'}\n")
    assert Environment(tmp_path / ".env").values["SECRET_KEY"] == "of the environment"
