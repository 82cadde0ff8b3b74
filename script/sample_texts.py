"""Picks texts at random to read aloud: pages, sections of the docs, messages, and every --help.

    .venv/bin/python script/sample_texts.py SEED

The same seed picks the same texts, as long as the project has the same ones.
"""

import ast
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APPS = ("accounts", "analytics_site", "audit", "examples", "exports", "finance", "sync")
PAGES, SECTIONS, MESSAGES = 10, 10, 20
# Calls whose first argument a person reads.
SAID = {
    "CommandError", "_", "gettext", "gettext_lazy", "gettext_noop", "debug", "error", "exception", "info", "warning",
    "ValidationError", "Warning", "Error", "write",
}  # fmt: skip


def sections() -> Iterator[tuple[str, str]]:
    """(page and heading, text) of each section of the docs."""
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]):
        for part in re.split(r"^(?=#+ [A-Z`])", path.read_text(), flags=re.MULTILINE):
            if part.startswith("#") and "\n" in part:
                heading, _, text = part.partition("\n")
                yield f"{path.relative_to(ROOT)} {heading}", text.strip()


def messages() -> Iterator[tuple[str, str]]:
    """(place, text) of each message in the code: errors, log lines, what pages say."""
    for app in APPS:
        for path in sorted((ROOT / app).rglob("*.py")):
            if {"tests", "migrations"} & set(path.parts):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                    node = node.exc
                elif not isinstance(node, ast.Call) or _name(node.func) not in SAID:
                    continue
                if node.args and isinstance(node.args[0], ast.Constant | ast.JoinedStr):
                    text = ast.unparse(node.args[0])
                    if " " in text:
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", text


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def helps() -> Iterator[tuple[str, str]]:
    """(command, its --help)."""
    verbs = sorted(path.stem for path in (ROOT / "sync" / "cli").glob("*.py"))
    named = [["sync", verb.replace("_", "-")] for verb in verbs if verb not in ("__init__", "output", "progress")]
    own = sorted(
        path.stem for app in APPS for path in (ROOT / app).glob("management/commands/*.py") if path.stem != "__init__"
    )
    for command in [*([name] for name in own), *named]:
        done = subprocess.run(
            [sys.executable, "manage.py", *command, "--help"], cwd=ROOT, env=os.environ | {"COLUMNS": "100"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        yield " ".join(command), done.stdout + done.stderr


def main() -> None:
    chance = random.Random(int(sys.argv[1]))  # noqa: S311  (no secret)
    sys.path.insert(0, str(ROOT))
    table = ast.parse((ROOT / "tests" / "pages.py").read_text())
    calls = [node for node in ast.walk(table) if isinstance(node, ast.Call) and _name(node.func) == "Page"]
    pages = [" ".join(str(ast.literal_eval(argument)) for argument in call.args[:3]) for call in calls]
    print("# Pages\n\n" + "\n".join(sorted(chance.sample(pages, PAGES))))
    print("\n# Sections of the docs")
    for place, text in sorted(chance.sample(list(sections()), SECTIONS)):
        print(f"\n{place}\n{text}")
    print("\n# Messages\n")
    for place, text in sorted(chance.sample(list(messages()), MESSAGES)):
        print(f"{place}\n    {text}")
    print("\n# Help")
    for command, text in helps():
        print(f"\n$ manage.py {command} --help\n{text}")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
        sys.exit(__doc__)
    main()
