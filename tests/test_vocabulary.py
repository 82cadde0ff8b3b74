"""The vocabulary check rejects every word in script/vocabulary.txt, and Help has the same terms as docs/glossary.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from analytics_site.glossary import GLOSSARY
from tests.servers import ROOT

pytestmark = pytest.mark.quick

OLD = [line.partition("->")[0] for line in (ROOT / "script" / "vocabulary.txt").read_text().splitlines()]


def refused(folder: Path, text: str) -> list[str]:
    """The words that the check rejects in this text."""
    page = folder / "page.md"
    page.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "codespell_lib", str(page)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    found = re.findall(r"page\.md:\d+: (.+?) ==>", done.stdout, re.MULTILINE)
    assert bool(found) == (done.returncode != 0)
    return found


def test_each_old_word_is_refused_in_a_sentence_and_at_its_start(tmp_path: Path) -> None:
    written = [*OLD, *map(str.capitalize, OLD)]
    assert refused(tmp_path, "".join(f"Now {word} here.\n" for word in written)) == written


def test_help_and_the_glossary_page_are_the_same() -> None:
    page = (ROOT / "docs" / "glossary.md").read_text()
    written = {}
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        title, _, rows = section.partition("\n")
        written[title] = dict(re.findall(r"^\| \*\*(.+?)\*\* \| (.+) \|$", rows, re.MULTILINE))
    assert written == {
        str(section): {str(term): str(meaning) for term, meaning in terms.items()}
        for section, terms in GLOSSARY.items()
    }
