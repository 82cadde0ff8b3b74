"""README and docs match the code: variables, defaults, the production example, links, commands, dependencies."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import get_commands

from sync.core import conf
from tests.servers import ROOT

README = (ROOT / "README.md").read_text()
SETTINGS = (ROOT / "docs" / "reference" / "settings.md").read_text()
COMMANDS = (ROOT / "docs" / "reference" / "commands.md").read_text()
PRODUCTION = (ROOT / "docs" / "how-to" / "production.md").read_text()
NO_READING = {"env.is_set", "env.unknown", "env.mistakes.append", "env.mistake"}


def variables_in_code() -> Iterator[tuple[str, ast.expr | None]]:
    """(name, expression of the default) for each env.kind("NAME", default) and each port of script/server."""
    for path, caller in (("analytics_site/settings.py", "env"), ("script/serve.py", "port")):
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if not isinstance(node, ast.Call) or (called := ast.unparse(node.func)) in NO_READING:
                continue
            if called.partition(".")[0] == caller and node.args:
                name, *default = [*node.args, *(word.value for word in node.keywords if word.arg == "default")]
                if isinstance(name, ast.Constant):
                    yield str(name.value), default[0] if default else None


def in_words(default: ast.expr | None) -> str:
    """The default as the settings page writes it, with and without DEBUG."""

    def value(debug: bool) -> str:
        if default is None:
            return "—"
        folder = Path("var")
        names = {"DEBUG": debug, "VAR_DIR": folder, "BASE_DIR": Path(), "str": str, "conf": conf}
        result: Any = eval(ast.unparse(default), {"__builtins__": {}}, names)
        text = ",".join(result) if isinstance(result, list) else str(result)
        return f"`{text}`" if text else "—"

    return value(False) if value(False) == value(True) else f"{value(False)}; with `DEBUG`: {value(True)}"


def test_every_variable_is_in_the_table_with_its_default() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.+?) \| .+ \|$", SETTINGS, re.MULTILINE)
    assert dict(rows) == {name: in_words(default) for name, default in variables_in_code()}
    assert len(rows) == len(dict(rows))


def test_the_settings_take_each_default_of_the_mirror_from_conf() -> None:
    defaults = {name: default and ast.unparse(default) for name, default in variables_in_code()}
    of_the_mirror = {name: default for name, default in defaults.items() if name.startswith("SYNC_")}
    assert of_the_mirror == {f"SYNC_{name}": f"conf.DEFAULTS[{name!r}]" for name in conf.DEFAULTS}


def test_the_example_sets_only_variables_that_exist() -> None:
    example = re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert set(example) <= {name for name, _ in variables_in_code()}


def deployment_check(folder: Path, **changes: str) -> SimpleNamespace:
    """Runs `check --deploy` with only the production page's variables in the environment."""
    (block,) = re.findall(r"```ini\n(.+?)```", PRODUCTION, re.DOTALL)
    variables = dict(line.split("=", 1) for line in block.splitlines())
    environment = {"PATH": os.environ["PATH"], "VAR_DIR": str(folder), "DEBUG": "False"} | variables | changes
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return SimpleNamespace(status=done.returncode, output=done.stdout + done.stderr)


def test_djangos_deployment_check_is_clean_with_the_production_variables(tmp_path: Path) -> None:
    done = deployment_check(tmp_path)
    assert done.status == 0, done.output
    assert "no issues (0 silenced)" in done.output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SECRET_KEY": "short"}, "security.W009"), ({"SECRET_KEY": ""}, "Set SECRET_KEY"),
        ({"DEBUG": "True"}, "security.W018"), ({"HTTPS": "False"}, "security.W008"),
        ({"ALLOWED_HOSTS": "", "PORTAL_ORIGIN": ""}, "security.W020"), ({"ALLOWED_HOSTS": "*"}, "accounts.E002"),
        ({"ALLOWED_HOSTS": "*", "PORTAL_ORIGIN": ""}, "Set PORTAL_ORIGIN"),
        ({"PORTAL_ORIGIN": "portal.example.com"}, "PORTAL_ORIGIN is"),
        ({"REQUIRE_MFA": "none"}, "accounts.W002"), ({"REQUIRE_MFA": "customer"}, "accounts.W002"),
        ({"EMAIL_URL": "consolemail://"}, "accounts.W003"), ({"ENCRYPTION_KEYS": "short"}, "ENCRYPTION_KEYS is"),
        ({"CACHE_URL": "dummycache://"}, "accounts.E001"), ({"CACHE_URL": "locmemcache://"}, "accounts.E001"),
        ({"CACHE_URL": "dbcache://cache"}, "accounts.E001"),
    ],
    ids=str,
)  # fmt: skip
def test_the_deployment_check_fails_with_each_unsafe_variable(
    tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    done = deployment_check(tmp_path, **changes)
    assert done.status in (1, 2)
    assert message in done.output


def links() -> Iterator[tuple[str, str]]:
    """(page, linked file or named script) for each page outside docs/. script/docs checks the links inside docs/."""
    for page in sorted(ROOT.glob("*.md")):
        for link, script in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)|`(script/[a-z-]+)", page.read_text()):
            yield page.name, link or script


@pytest.mark.parametrize(("page", "path"), sorted(set(links())), ids=str)
def test_every_linked_file_exists(page: str, path: str) -> None:
    assert (ROOT / path).exists(), page


def test_every_documented_command_exists() -> None:
    named = re.findall(r"^\| `(\w+)(?: ([\w-]+))?", COMMANDS, re.MULTILINE)
    commands = {command for command, _ in named if command.islower() and command != "script"}
    assert commands <= set(get_commands())
    verbs = {verb.replace("-", "_") for command, verb in named if command == "sync"}
    assert verbs >= {path.stem for path in (ROOT / "sync" / "cli").glob("*.py")} - {
        "__init__",
        "arguments",
        "output",
        "progress",
    }
    for verb in (verb for command, verb in named if command == "sync" and verb.islower()):
        assert (ROOT / "sync" / "cli" / f"{verb.replace('-', '_')}.py").exists()


def test_every_dependency_is_explained() -> None:
    explained = (ROOT / "docs" / "explanation" / "decisions.md").read_text().lower()
    for requirements in (*ROOT.glob("requirements*.txt"), ROOT / "deploy" / "image.txt"):
        for name in re.findall(r"^[A-Za-z][\w-]*", requirements.read_text(), re.MULTILINE):
            assert re.search(rf"\b{name.lower().removesuffix('-ubuntu2204')}\b", explained), name


def test_troubleshooting_quotes_messages_from_the_code() -> None:
    """Each heading is a message; `...` stands for its variable parts. One message is MongoDB's own."""
    code = ""
    for app in ("sync", "accounts", "analytics_site", "finance"):
        for path in (ROOT / app).rglob("*.py"):
            if "tests" not in path.parts:
                code += re.sub(r'"\s*\n\s*f?"', "", path.read_text())  # joins messages that span several lines
    page = (ROOT / "docs" / "how-to" / "troubleshooting.md").read_text()
    headings = re.findall(r"^### (.+)$", page, re.MULTILINE)
    parts = [part.strip(" .:()") for heading in headings for part in re.split(r"\.\.\.|`[^`]*`", heading)]
    assert len(headings) > 20
    assert [part for part in parts if part.lower() not in code.lower()] == ["MongoDB: not authorized on"]
