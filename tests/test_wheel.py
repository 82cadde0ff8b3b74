"""The package that other projects install: its page in docs/how-to works as written, in an empty environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest

from tests.servers import ROOT, SERVERS

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "how-to" / "use-in-your-project.md"
DISTRIBUTION = "django-mongo-mirror"


def run(command: list[str], folder: Path, *, told: str = "", **environment: str) -> str:
    """Runs a program of another project, which has none of the tests' variables; what it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO", "PYTEST", "PYTHON"))}
    done = subprocess.run(
        command, cwd=folder, env=kept | environment, input=told, capture_output=True, text=True, timeout=540,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what git knows, so that no leftover of a build gets in."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    names = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], ROOT).split("\0")
    for name in filter(None, names):
        if name.startswith(("sync/", "docs/how-to/use", "pyproject")) and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    run([sys.executable, "-m", "uv", "build", "--wheel", "--out-dir", str(built), str(source)], built)
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an empty environment with nothing but the package, what it asks for, and a driver for MySQL."""
    place = tmp_path_factory.mktemp("environment")
    run([sys.executable, "-m", "uv", "venv", "--python", sys.executable, str(place)], place)
    python = str(place / "bin" / "python")
    run([sys.executable, "-m", "uv", "pip", "install", "--python", python, str(wheel), "mysqlclient"], place)
    return place / "bin"


def blocks() -> Iterator[tuple[str, str]]:
    """(language, text) of each block of code on the page."""
    yield from re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_wheel_has_the_engine_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    packages = {name.split("/")[0] for name in names if not name.startswith("django_mongo_mirror-")}
    assert packages == {"sync"}
    assert not [name for name in names if "/tests/" in name]
    for needed in ("templates/sync/base.html", "static/sync/console.css", "migrations/0001_initial.py", "models.py"):
        assert f"sync/{needed}" in names


@pytest.mark.parametrize("database", ["sqlite", "mariadb"])
def test_the_page_leads_to_a_mirrored_model(environment: Path, tmp_path: Path, database: str) -> None:
    if database == "mariadb" and SERVERS.mariadb is None:
        pytest.skip("this run is not on MariaDB")

    def own(address: re.Match[str]) -> str:
        return repr(SERVERS.mongo.uri(f"{address['name']}_{database}"))

    path = f"{environment}{os.pathsep}{os.environ['PATH']}"
    told = ""
    for language, text in blocks():
        if language == "python":
            name = text.split("\n", 1)[0].removeprefix("# ")
            text = re.sub(r'"mongodb://[^/"]*/(?P<name>\w+)[^"]*"', own, text)
            with (tmp_path / name).open("a") as file:
                file.write(text)
                if name == "shop/settings.py" and database == "mariadb":
                    file.write(f"DATABASES = {{'default': {mariadb()!r}}}\n")
        else:
            for line in text.splitlines():
                if not line.startswith("pip install"):  # the fixture has done that, with the wheel
                    told += run(["sh", "-c", line], tmp_path, PATH=path)
    with pymongo.MongoClient(SERVERS.mongo.uri(f"shop_{database}")) as client:
        [document] = client.get_default_database()["products"].find()
    assert document["_id"] == 1
    assert document["name"] == "Lamp"
    assert str(document["price"]) == "19.90"
    assert "goods.product" in told
    pages = (ROOT / "tests/scripts/print_console.py").read_text()
    page = run(["python", "manage.py", "shell"], tmp_path, told=pages, PATH=path)
    assert "goods.product" in page
    assert "sync/vendor/bootstrap" in page
    assert "Lamp" in page


def mariadb() -> dict[str, Any]:
    server = SERVERS.mariadb
    assert server is not None
    server.sql("CREATE DATABASE analytics_shop")
    url = re.fullmatch(r"mysql://(.*):(.*)@(.*):(\d+)/.*", server.url())
    assert url is not None
    user, password, host, port = url.groups()
    return {
        "ENGINE": "django.db.backends.mysql", "NAME": "analytics_shop", "USER": user, "PASSWORD": password,
        "HOST": host, "PORT": port,
    }  # fmt: skip
