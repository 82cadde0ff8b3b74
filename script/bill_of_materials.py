"""Prints the software bill of materials of what the portal runs on, or a table of the licences: script/sbom runs it.

The lock also has packages for other systems, which are not installed here: the bill lists them without a licence, the
table leaves them out. Exit status: 0 done; 1 a package is not installed or names no licence; 2 wrong use.
"""

import argparse
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
LOCK = "requirements.lock"
# Licence files, which some packages name in place of a licence, are longer than any name.
LONGEST_NAME = 80
NO_LICENCE = ("", "UNKNOWN", "OSI Approved")


def licence(name):
    """What the installed package says of its licence, or an empty text."""
    about = metadata.metadata(name)
    classifiers = [
        text.rpartition(" :: ")[2] for text in about.get_all("Classifier", []) if text.startswith("License ::")
    ]
    for said in (about["License-Expression"], ", ".join(classifiers), about["License"]):
        text = " ".join((said or "").split())
        if text not in NO_LICENCE and len(text) <= LONGEST_NAME:
            return text
    return ""


def locked():
    """The requirements of the lock that are for this system."""
    lines = (ROOT / LOCK).read_text().splitlines()
    all_of_them = [Requirement(line.rstrip("\\ ")) for line in lines if "==" in line and line[0] not in " #"]
    return [each for each in all_of_them if each.marker is None or each.marker.evaluate()]


def bill_of_materials(licences):
    """CycloneDX by its own tool, and the licences, which the tool does not read from a requirements file."""
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "--output-reproducible", "--of", "JSON", LOCK]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"cyclonedx-py failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    bill = json.loads(done.stdout)
    for component in bill["components"]:
        if name := licences.get(component["name"]):
            component["licenses"] = [{"license": {"name": name}}]
    return json.dumps(bill, indent=2)


def table(requirements, licences):
    rows = [f"| {each.name} | {next(iter(each.specifier)).version} | {licences[each.name]} |" for each in requirements]
    return "\n".join(
        [
            "# Licences",
            "",
            "The licence of each package that the portal runs on. `script/sbom --licences` prints this page.",
            "",
            "| Package | Version | Licence |",
            "|---|---|---|",
            *rows,
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--licences", action="store_true", help="print the table of licences instead")
    asked = parser.parse_args()
    requirements, licences, missing = locked(), {}, []
    for each in requirements:
        try:
            licences[each.name] = licence(each.name)
        except metadata.PackageNotFoundError:
            licences[each.name] = ""
        if not licences[each.name]:
            missing.append(each.name)
    print(table(requirements, licences) if asked.licences else bill_of_materials(licences))
    for name in missing:
        print(f"{name}: it is not installed, or names no licence.", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
