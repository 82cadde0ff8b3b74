"""The restore drill makes both databases equal, and notices when they are not."""

from pathlib import Path

import pytest

from tests import restore_drill

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("order", ["mongodb", "mysql"])
def test_the_documented_commands_make_both_databases_equal(order: str, tmp_path: Path) -> None:
    restore_drill.drill(order, tmp_path / "dumps")


def test_without_them_the_databases_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore_drill, "COMMANDS", ())
    with pytest.raises(restore_drill.Failed, match="rows and documents differ: accounts"):
        restore_drill.drill("mongodb", tmp_path / "dumps")


def test_the_guide_has_its_commands() -> None:
    guide = (restore_drill.ROOT / "docs" / "how-to" / "operate.md").read_text()
    for command in restore_drill.COMMANDS:
        assert f"manage.py {' '.join(command)}\n" in guide
