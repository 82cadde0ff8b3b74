"""The package that other projects install: the pages about it work as written in an empty environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.database import Database

from tests.documented import Command, steps
from tests.servers import ROOT, SERVERS

pytestmark = pytest.mark.slow

OWN_PROJECT = "how-to/use-in-your-project.md"
TUTORIAL = ("tutorial/first-model.md", "how-to/model-data.md", "how-to/model-a-document.md")  # one project


def run(
    command: list[str], folder: Path, *, stdin: str = "", expected: tuple[int, ...] = (0,), **environment: str
) -> str:
    """Runs a program of another project, without the tests' variables; its output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO", "PYTEST", "PYTHON"))}
    done = subprocess.run(
        command, cwd=folder, env=kept | environment, input=stdin, capture_output=True, text=True, timeout=540,
        check=False,
    )  # fmt: skip
    assert done.returncode in expected, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built only from files that git knows, so that it contains no leftovers of a build."""
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
    """The bin folder of an environment with only the package, its requirements and a MySQL driver."""
    place = tmp_path_factory.mktemp("environment")
    run([sys.executable, "-m", "uv", "venv", "--python", sys.executable, str(place)], place)
    python = str(place / "bin" / "python")
    run([sys.executable, "-m", "uv", "pip", "install", "--python", python, str(wheel), "mysqlclient"], place)
    return place / "bin"


def test_the_wheel_has_the_engine_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    packages = {name.split("/")[0] for name in names if not name.startswith("django_mongo_mirror-")}
    assert packages == {"sync"}
    assert not [name for name in names if "/tests/" in name]
    for needed in ("templates/sync/base.html", "static/sync/console.css", "migrations/0001_initial.py", "models.py"):
        assert f"sync/{needed}" in names


@pytest.fixture(params=["sqlite", "mariadb"])
def follow(
    request: pytest.FixtureRequest, environment: Path, tmp_path: Path
) -> Iterator[Callable[..., tuple[str, Database]]]:
    """Follows the steps of pages in an empty folder; the commands' output and the project's MongoDB database."""
    if request.param == "mariadb" and SERVERS.mariadb is None:
        pytest.skip("this run is not on MariaDB")
    name = f"{request.node.originalname}_{request.param}"[-40:]  # MySQL's names have up to 64 characters
    path = f"{environment}{os.pathsep}{os.environ['PATH']}"

    def own(address: re.Match[str]) -> str:
        return repr(SERVERS.mongo.uri(f"{address[1]}_{name}"))

    def pages(*names: str) -> tuple[str, Database]:
        output = ""
        for step in steps(*names):
            if isinstance(step, Command):
                if not step.line.startswith("pip install"):  # the fixture has installed the wheel
                    # Without a relay, changes count as lagging after 5 seconds, which a busy machine may take.
                    expected = (0, 1) if step.line.endswith("sync status") else (0,)
                    output += run(["sh", "-c", step.line], tmp_path, expected=expected, PATH=path)
                continue
            with (tmp_path / step.path).open("a") as file:
                file.write(re.sub(r'"mongodb://[^/"]*:27017/(\w+)[^"]*"', own, step.text))
                if step.path == "shop/settings.py" and request.param == "mariadb":
                    file.write(f"DATABASES = {{'default': {mariadb(name)!r}}}\n")
        return output, client[f"shop_{name}"]

    with pymongo.MongoClient(SERVERS.mongo.uri("")) as client:
        yield pages


def test_the_page_leads_to_a_mirrored_model(
    follow: Callable[..., tuple[str, Database]], environment: Path, tmp_path: Path
) -> None:
    output, mongo = follow(OWN_PROJECT)
    [document] = mongo["products"].find()
    assert document["_id"] == 1
    assert document["name"] == "Lamp"
    assert str(document["price"]) == "19.90"
    assert "goods.product" in output
    pages = (ROOT / "tests/scripts/print_console.py").read_text()
    path = f"{environment}{os.pathsep}{os.environ['PATH']}"
    page = run(["python", "manage.py", "shell"], tmp_path, stdin=pages, PATH=path)
    assert "goods.product" in page
    assert "sync/vendor/bootstrap" in page
    assert "Lamp" in page


def test_the_tutorial_and_the_pages_about_data_work_as_written(follow: Callable[..., tuple[str, Database]]) -> None:
    output, mongo = follow(*TUTORIAL)
    assert {document["name"]: document["in_stock"] for document in mongo["products"].find()} == {"Lamp": 13, "Table": 0}
    [supplier] = mongo["suppliers"].find()
    assert supplier["contact"]["since"].year == 2019
    assert "notes" not in supplier
    [offer] = mongo["offers"].find()
    assert str(offer["price"]["amount"]) == "9.90"
    assert "Sons" in output
    assert "Summer sale" in output
    [order] = mongo["orders"].find()
    assert [line["product"] for line in order["lines"]] == ["Chair", "Lamp"]
    assert (order["region"], order["label_ids"]) == ({"name": "Far North"}, [1])


def mariadb(name: str) -> dict[str, Any]:
    server = SERVERS.mariadb
    assert server is not None
    server.sql(f"CREATE DATABASE analytics_{name}")
    url = re.fullmatch(r"mysql://(.*):(.*)@(.*):(\d+)/.*", server.url())
    assert url is not None
    user, password, host, port = url.groups()
    return {
        "ENGINE": "django.db.backends.mysql", "NAME": f"analytics_{name}", "USER": user, "PASSWORD": password,
        "HOST": host, "PORT": port,
    }  # fmt: skip
