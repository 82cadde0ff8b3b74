"""Files in the format of mongoexport, for the tests of the import."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bson import ObjectId, json_util

from finance.importing import MODELS, FileImport, Rejects

DATASETS = Path(__file__).resolve().parents[3] / "shared" / "datasets"


def account(number: int = 1, **changes: Any) -> dict[str, Any]:
    """The document of an account. A change to None omits the field."""
    document = {"_id": ObjectId(f"{number:024x}"), "account_id": number, "limit": 9000, "products": ["Brokerage"]}
    return {name: value for name, value in (document | changes).items() if value is not None}


def to_line(document: dict[str, Any]) -> str:
    return json_util.dumps(document, json_options=json_util.CANONICAL_JSON_OPTIONS)


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def load(path: Path, model: str = "account", batch: int = 500) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Imports a file. Returns the counts by outcome and the lines of the rejects file."""
    rejects = Rejects(path.with_suffix(".rejects"))
    counts = FileImport(path, MODELS[model], batch, rejects).run()
    rejects.close()
    lines = rejects.path.read_text().splitlines() if rejects.count else []
    return dict(counts), [json.loads(line) for line in lines]


def dataset(name: str) -> Iterator[dict[str, Any]]:
    """The documents of a real file with their BSON types."""
    options = json_util.JSONOptions(json_mode=json_util.JSONMode.CANONICAL, tz_aware=True)
    with (DATASETS / name).open(encoding="utf-8") as file:
        for line in file:
            yield json_util.loads(line, json_options=options)
