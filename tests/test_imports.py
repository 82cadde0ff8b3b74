"""Imports point one way: finance and examples -> sync and audit; accounts -> audit; finance and audit -> exports.
sync and exports stand alone, and no app imports analytics_site. The contracts of import-linter in pyproject.toml define
what sync's packages may import from each other."""

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.servers import ROOT

pytestmark = pytest.mark.quick

ALLOWED = {
    "audit": {"audit", "exports"},
    "exports": {"exports"},
    "accounts": {"accounts", "audit"},
    "sync": {"sync"},
    "finance": {"finance", "sync", "audit", "exports"},
    "examples": {"examples", "sync", "audit"},
}
PROJECT = {*ALLOWED, "analytics_site"}


def sources(pattern: str) -> Iterator[Path]:
    """The project's own files: a search of the whole folder would go through the installed packages, too."""
    for folder in (*PROJECT, "bench", "tests"):
        yield from (ROOT / folder).rglob(pattern)


def imported(source: Path) -> Iterator[str]:
    """The first part of each absolute import's name. The assertion keeps relative imports inside their package."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level < 2, f"{source} has a relative import from outside its package"
            if node.level == 0:
                yield str(node.module).partition(".")[0]


@pytest.mark.parametrize("app", [app for app in ALLOWED if (ROOT / app).exists()])
def test_an_app_imports_only_what_it_may(app: str) -> None:
    wrong = [
        f"{source.relative_to(ROOT)} imports {name}"
        for source in (ROOT / app).rglob("*.py")
        if "tests" not in source.parts
        for name in imported(source)
        if name in PROJECT - ALLOWED[app]
    ]
    assert wrong == []


def test_no_test_module_imports_another() -> None:
    """Shared code is in modules of its own, so that each test module can be moved, run and read alone."""
    wrong = []
    for source in sources("test_*.py"):
        if ".test_" not in (text := source.read_text()):
            continue
        for node in ast.walk(ast.parse(text)):
            names = [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            wrong += [f"{source.relative_to(ROOT)}: {name}" for name in names if ".test_" in name]
    assert wrong == []


def test_no_test_has_a_program_in_a_string() -> None:
    """A program that a test runs is a script beside the tests, so that linters and the type checker see it."""
    wrong = []
    for source in sources("*.py"):
        if "tests" not in source.parts or '"-c"' not in (text := source.read_text()):
            continue
        for node in ast.walk(ast.parse(text)):
            words = node.elts if isinstance(node, ast.List | ast.Tuple) else []
            if isinstance(node, ast.Call):
                words = node.args
            values = [word.value if isinstance(word, ast.Constant) else None for word in words]
            if any(option == "-c" and program != "sh" for program, option in pairwise([None, *values])):
                wrong.append(f"{source.relative_to(ROOT)}:{node.lineno}")
    assert wrong == []
