"""Production installs exactly the locked packages, and each package is listed with its licence."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.servers import ROOT

LOCK = (ROOT / "requirements.lock").read_text()
IMAGE_LOCK = (ROOT / "deploy" / "image.lock").read_text()
LICENCES = ROOT / "docs" / "reference" / "licences.md"


def sbom(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["script/sbom", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def requirements(text: str) -> dict[str, Requirement]:
    lines = [line.partition("#")[0].rstrip("\\ ") for line in text.splitlines() if re.match(r"\w", line)]
    return {canonicalize_name(each.name): each for each in map(Requirement, lines)}


LOCKED = requirements(LOCK)
ENTRIES = re.split(r"\n(?=\w)", LOCK)[1:]


def test_the_lock_contains_every_requirement() -> None:
    required = requirements((ROOT / "requirements.txt").read_text())
    assert len(required) > 15
    assert {name: each.specifier for name, each in required.items()} == {
        name: LOCKED[name].specifier for name in required if name in LOCKED
    }
    # Each entry says which file required the package, so this also finds one that requirements.txt no longer names.
    direct = {re.match(r"[\w.-]+", entry)[0] for entry in ENTRIES if "-r requirements.txt" in entry}
    assert {canonicalize_name(name) for name in direct} == set(required)


@pytest.mark.parametrize(("lock", "least"), [(LOCK, 30), (IMAGE_LOCK, 1)], ids=["portal", "image"])
def test_every_locked_package_has_hashes_and_names_no_server(lock: str, least: int) -> None:
    entries = re.split(r"\n(?=\w)", lock)[1:]
    assert len(entries) == len(requirements(lock)) > least
    for entry in entries:
        assert re.match(r"\S+==[\w.]+ ", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), entry
    assert not re.search(r"://|--(extra-)?index|--find-links|--trusted-host", lock)


def test_the_image_adds_its_own_locked_packages() -> None:
    own, locked = requirements((ROOT / "deploy" / "image.txt").read_text()), requirements(IMAGE_LOCK)
    assert {name: each.specifier for name, each in own.items()} == {name: locked[name].specifier for name in own}
    assert not locked.keys() & LOCKED.keys(), "one file decides on a version"
    installed = "--require-hashes \\\n      -r /build/requirements.lock -r /build/image.lock"
    assert installed in (ROOT / "deploy" / "Containerfile").read_text()


def test_pip_refuses_a_package_whose_hash_differs(tmp_path: Path) -> None:
    wheel = tmp_path / "fine-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("fine-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: fine\nVersion: 1\n")
        archive.writestr("fine-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("fine-1.dist-info/RECORD", "")
    lock = tmp_path / "lock"
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", str(tmp_path), "--dry-run"]
    for digest, status in ((hashlib.sha256(wheel.read_bytes()).hexdigest(), 0), ("0" * 64, 1)):
        lock.write_text(f"fine==1 --hash=sha256:{digest}\n")
        done = subprocess.run([*pip, "--require-hashes", "-r", str(lock)], capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr


def test_production_installs_the_lock() -> None:
    page = (ROOT / "docs" / "how-to" / "production.md").read_text()
    assert "pip install --require-hashes -r requirements.lock" in page
    assert "pip install -r requirements.txt" not in page


def test_the_bill_of_materials_names_every_package_with_hash_and_licence() -> None:
    done = sbom()
    assert done.returncode == 0, done.stderr
    bill = json.loads(done.stdout)
    assert bill["bomFormat"] == "CycloneDX"
    assert {canonicalize_name(each["name"]): f"=={each['version']}" for each in bill["components"]} == {
        name: str(each.specifier) for name, each in LOCKED.items()
    }
    for component in bill["components"]:
        assert any(reference.get("hashes") for reference in component["externalReferences"])
        is_for_this_system = (
            marker := LOCKED[canonicalize_name(component["name"])].marker
        ) is None or marker.evaluate()
        assert bool(component.get("licenses")) == is_for_this_system, component["name"]


def test_the_licences_of_installed_packages_are_listed() -> None:
    done = sbom("--licences")
    assert done.returncode == 0, done.stderr
    assert done.stdout == LICENCES.read_text(), "Run: script/sbom --licences > docs/reference/licences.md"


def test_a_wrong_argument_exits_with_status_2() -> None:
    assert sbom("--licenses").returncode == 2
