"""Malay: every text that a person can read is translated, with its placeholders, and the compiled files are current.

English: only what the portal words otherwise than the packages that it uses.
"""

from __future__ import annotations

import gettext
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from babel.messages import Catalog
from babel.messages.pofile import read_po

from tests.servers import ROOT

CATALOGUES = [ROOT / part / "ms" / "LC_MESSAGES" / "django.po" for part in ("locale", "sync/locale")]
ENGLISH = ROOT / "locale" / "en" / "LC_MESSAGES" / "django.po"
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%[sd]|{\w*}")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def catalogue(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file)


def forms(texts: str | tuple[str, ...] | list[str]) -> list[str]:
    """The singular and the plural, or the only form."""
    return [texts] if isinstance(texts, str) else list(texts)


@pytest.mark.quick
@pytest.mark.parametrize("path", [*CATALOGUES, ENGLISH], ids=named)
def test_each_text_has_a_translation_with_its_placeholders(path: Path) -> None:
    untranslated, wrong = [], []
    for message in catalogue(path):
        if not message.id:
            continue
        if message.fuzzy or not all(forms(message.string)):
            untranslated.append(message.id)
        wanted = {name for text in forms(message.id) for name in PLACEHOLDER.findall(text)}
        if any(set(PLACEHOLDER.findall(text)) != wanted for text in forms(message.string)):
            wrong.append((message.id, message.string))
    assert untranslated == []
    assert wrong == []


@pytest.mark.quick
def test_each_english_text_replaces_one_that_is_shown() -> None:
    shown = {text for path in CATALOGUES for message in catalogue(path) for text in forms(message.id)}
    assert {text for message in catalogue(ENGLISH) for text in forms(message.id)} - shown == set()


@pytest.mark.quick
@pytest.mark.parametrize("path", [*CATALOGUES, ENGLISH], ids=named)
def test_the_compiled_file_is_current(path: Path) -> None:
    with path.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    stale = [
        message.id
        for message in catalogue(path)
        if message.id and not message.context and compiled.gettext(forms(message.id)[0]) != forms(message.string)[0]
    ]
    assert stale == [], "run script/translations"


def test_the_catalogues_have_the_texts_of_the_code(tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if name.endswith((".py", ".html", ".txt", ".po")) and not name.startswith(("docs/", "bench/", "tests/")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run([sys.executable, "script/translate.py"], cwd=tmp_path, check=True, capture_output=True)
    for path in CATALOGUES:
        stored = {(message.id, message.context) for message in catalogue(path)}
        found = {(message.id, message.context) for message in catalogue(tmp_path / path.relative_to(ROOT))}
        assert found - stored == set(), "run script/translations, and translate the new texts"
        assert stored - found == set(), "run script/translations: these texts are gone"
