"""The work of script/translations, in the current directory."""

import os
import sys
from pathlib import Path

import django
from django.core.management import call_command
from django.core.management.commands.makemessages import Command

# Headers that say nothing, or change with each run.
HEADERS = (
    "Project-Id", "Report-Msgid", "POT-Creation", "PO-Revision", "Last-Translator", "Language-Team", "Generated-By",
)  # fmt: skip
LEFT_OUT = [".venv", "bench", "docs", "node_modules", "script", "tests", "var"]


def main() -> None:
    sys.path.insert(0, str(Path.cwd()))
    os.environ["DJANGO_SETTINGS_MODULE"] = "analytics_site.settings"
    os.environ |= {"DATABASE_URL": "sqlite://:memory:", "DEBUG": "1", "SECRET_KEY": "unused"}
    django.setup()
    Command.msgmerge_options = [*Command.msgmerge_options, "--no-fuzzy-matching"]  # a guess is no translation
    # Without places and dates, a catalogue changes only if a text does.
    call_command(
        "makemessages", locale=["ms"], ignore_patterns=LEFT_OUT, no_location=True, no_obsolete=True, verbosity=0
    )
    for path in [*Path("locale").rglob("*.po"), *Path("sync/locale").rglob("*.po")]:
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if not line.removeprefix('"').startswith(HEADERS)))
    call_command("compilemessages", locale=["ms"], ignore_patterns=[".venv"], verbosity=0)


if __name__ == "__main__":
    main()
