"""The work of script/translations, in the current directory."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import django
from django.core.management import call_command
from django.core.management.commands.makemessages import Command

# Headers that say nothing, or change with each run.
HEADERS = (
    "Project-Id", "Report-Msgid", "POT-Creation", "PO-Revision", "Last-Translator", "Language-Team", "Generated-By",
)  # fmt: skip
# What users see of packages whose Malay catalogue is missing or has gaps. Django looks up their texts in the portal's
# catalogue, too.
SHOWN = {
    "allauth": [
        "account/adapter.py", "account/admin.py", "account/apps.py", "account/fields.py", "account/forms.py",
        "account/models.py", "mfa/**/*.py", "templates/account/**/*.*", "templates/mfa/**/*.*",
    ],
    "django": ["contrib/auth/password_validation.py"],
}  # fmt: skip
# Of features that the portal does not use.
HIDDEN = [
    "*phone*", "*login_code*", "*password_reset_code*", "*confirm_code*", "*_verification_code*", "signup_*.html",
    "email_change.html", "verified_email_required.html", "trust.html", "webauthn/base.html", "snippets/scripts.html",
]  # fmt: skip
LEFT_OUT = [".venv", "bench", "docs", "node_modules", "script", "tests", "var"]


@contextmanager
def copies() -> Iterator[None]:
    """The files of SHOWN in the current directory, without templates that the portal replaces."""
    folder = Path("installed")
    try:
        for package, patterns in SHOWN.items():
            source = Path(str(files(package)))
            for path in (path for pattern in patterns for path in source.glob(pattern)):
                name = path.relative_to(source)
                if Path(name).is_file() or any(name.match(pattern) for pattern in HIDDEN) or not path.is_file():
                    continue
                (folder / package / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder / package / name)
        yield
    finally:
        shutil.rmtree(folder)


def main() -> None:
    sys.path.insert(0, str(Path.cwd()))
    os.environ["DJANGO_SETTINGS_MODULE"] = "analytics_site.settings"
    os.environ |= {"DATABASE_URL": "sqlite://:memory:", "DEBUG": "1", "SECRET_KEY": "unused"}
    django.setup()
    Command.msgmerge_options = [*Command.msgmerge_options, "--no-fuzzy-matching"]  # a guess is no translation
    # Without places and dates, a catalogue changes only if a text does.
    with copies():
        call_command(
            "makemessages", locale=["ms"], ignore_patterns=LEFT_OUT, no_location=True, no_obsolete=True, verbosity=0
        )
    for path in [*Path("locale").rglob("*.po"), *Path("sync/locale").rglob("*.po")]:
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if not line.removeprefix('"').startswith(HEADERS)))
    call_command("compilemessages", locale=["en", "ms"], ignore_patterns=[".venv"], verbosity=0)


if __name__ == "__main__":
    main()
