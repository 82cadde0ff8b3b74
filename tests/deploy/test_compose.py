"""deploy/compose.yaml is complete, and what it runs once works on real servers."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mongod
import pymongo
import pytest
import yaml
from pymongo.errors import OperationFailure

from analytics_site.environment import SECRETS
from tests.documented import block
from tests.servers import ROOT, SERVERS, free_port

FILE = ROOT / "deploy" / "compose.yaml"
COMPOSE = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name, each in SERVICES.items() if "build" in each]
SETTINGS = (ROOT / "docs" / "reference" / "settings.md").read_text()
KNOWN = {*re.findall(r"^\| `([A-Z_]+)` \|", SETTINGS, re.MULTILINE), *(f"{name}_FILE" for name in SECRETS)}
OWN = {"tls.crt", "tls.key"}  # the operator brings them
COMMANDS = block("how-to/production.md", "In containers")


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """The folder that the documented command makes."""
    [line] = [line for line in COMMANDS if line.startswith("deploy/make-secrets ")]
    command = line.replace(" deploy/secrets ", f" {tmp_path}/secrets ")
    subprocess.run(["sh", "-c", command], cwd=ROOT, check=True)
    return tmp_path / "secrets"


@pytest.mark.quick
def test_there_are_all_services() -> None:
    assert set(SERVICES) == {"web", "sync", "migrate", "nginx", "mysql", "mongodb", "mongodb-init", "kafka"}
    assert SERVICES["kafka"]["profiles"] == ["kafka"]
    assert [name for name in SERVICES if "profiles" in SERVICES[name]] == ["kafka"]


@pytest.mark.quick
def test_images_of_others_have_a_version() -> None:
    for name in set(SERVICES) - set(OURS):
        assert re.fullmatch(r"[\w/-]+:\d+\.\d+(\.\d+)?", SERVICES[name]["image"])


@pytest.mark.quick
def test_servers_are_checked_and_started_in_order() -> None:
    for name, service in SERVICES.items():
        health = service.get("healthcheck", {})
        assert "test" in health or health.get("disable") or name == "web", "the image has the check of web"
        for other, need in service.get("depends_on", {}).items():
            ends = SERVICES[other].get("healthcheck", {}).get("disable", False)
            assert need["condition"] == ("service_completed_successfully" if ends else "service_healthy")
    for name in ("web", "sync"):
        assert set(SERVICES[name]["depends_on"]) == {"migrate", "mongodb-init"}
    assert set(SERVICES["migrate"]["depends_on"]) == {"mysql"}
    assert set(SERVICES["mongodb-init"]["depends_on"]) == {"mongodb"}


@pytest.mark.quick
@pytest.mark.parametrize("name", OURS)
def test_the_portals_containers_are_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]


@pytest.mark.quick
def test_only_nginx_is_reachable() -> None:
    """It shares the network of `web`, whose gunicorn listens on 127.0.0.1."""
    assert [name for name in SERVICES if "ports" in SERVICES[name]] == ["web"]
    assert SERVICES["nginx"]["network_mode"] == "service:web"
    command = SERVICES["web"]["command"]
    assert command[command.index("--bind") + 1] == "127.0.0.1:8000"


@pytest.mark.quick
def test_secrets_are_files_and_each_container_gets_its_own(secrets: Path) -> None:
    files = {name: Path(each["file"]).name for name, each in COMPOSE["secrets"].items()}
    assert {path.name for path in secrets.iterdir()} == set(files.values()) - OWN
    for name, service in SERVICES.items():
        given = {each if isinstance(each, str) else each["source"] for each in service.get("secrets", [])}
        assert given <= files.keys()
        for variable, value in service.get("environment", {}).items():
            if variable.endswith("_FILE"):
                assert value.removeprefix("/run/secrets/") in given, (name, variable)
            else:
                assert not re.search("PASSWORD|SECRET|TOKEN|_KEYS?$|_UR[IL]$", variable), (name, variable)


@pytest.mark.quick
def test_the_portals_variables_are_known() -> None:
    for name in ("web", "sync", "migrate"):
        assert SERVICES[name]["environment"].keys() <= KNOWN


@pytest.mark.quick
def test_made_secrets_are_valid_agree_and_stay(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert secrets.stat().st_mode & 0o777 == 0o700
    for variable, value in SERVICES["web"]["environment"].items():
        if variable.endswith("_FILE"):
            monkeypatch.delenv(variable.removesuffix("_FILE"), raising=False)
            monkeypatch.setenv(variable, str(secrets / value.rpartition("/")[2]))
    found = runpy.run_path(str(ROOT / "analytics_site" / "settings.py"))
    assert found["DATABASES"]["default"]["PASSWORD"] == (secrets / "mysql_password").read_text().strip()
    assert found["EMAIL_HOST_PASSWORD"] == "password"
    texts = [path.read_text() for path in sorted(secrets.iterdir())]
    assert len(set(texts)) == len(texts)
    subprocess.run([ROOT / "deploy" / "make-secrets", secrets, "smtp://another:25"], check=True)
    assert [path.read_text() for path in sorted(secrets.iterdir())] == texts


@pytest.mark.quick
def test_the_documented_commands_name_these_files() -> None:
    [build] = [line for line in COMMANDS if line.startswith("docker build ")]
    assert f"${{PORTAL_IMAGE:-{build.split()[-2]}}}" == COMPOSE["x-portal"]["image"]
    assert " --file deploy/Containerfile " in build
    copied = {line.split()[-1] for line in COMMANDS if line.startswith("cp ")}
    assert copied == {f"deploy/secrets/{name}" for name in OWN}
    assert [line for line in COMMANDS if " exec web python manage.py " in line]


@pytest.mark.quick
def test_docker_accepts_the_file(secrets: Path) -> None:
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed; the other tests check the file")
    subprocess.run([docker, "compose", "--file", FILE, "--profile", "kafka", "config", "--quiet"], check=True)


@pytest.fixture
def new_mongod(secrets: Path) -> Iterator[str]:
    """What the official image starts: a mongod with a user `root` that is not yet a replica set. Its HOST:PORT."""
    folder, port = SERVERS.place("compose"), free_port()
    folder.mkdir()
    key = folder / "key"
    shutil.copy(secrets / "mongodb_keyfile", key)
    key.chmod(0o400)
    command = [mongod.binary(), "--dbpath", str(folder), "--port", str(port), "--bind_ip", "127.0.0.1"]
    command += ["--unixSocketPrefix", str(folder), "--wiredTigerCacheSizeGB", "0.25"]
    password = (secrets / "mongodb_root_password").read_text().strip()

    def started(*options: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, process_group=0)
        with pymongo.MongoClient("127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=60_000) as client:
            client.admin.command("ping")
        return process

    process = started()
    try:
        with pymongo.MongoClient("127.0.0.1", port, directConnection=True) as client:
            client.admin.command("createUser", "root", pwd=password, roles=["root"])
        process.terminate()
        process.wait(60)
        process = started("--replSet", "rs0", "--keyFile", str(key))
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def test_a_new_mongodb_becomes_a_replica_set_with_the_portals_user(new_mongod: str, secrets: Path) -> None:
    uri = secrets / "mongodb_uri"
    uri.chmod(0o644)
    environment = os.environ | {
        "MONGODB_ROOT_PASSWORD_FILE": str(secrets / "mongodb_root_password"), "MONGODB_URI_FILE": str(uri)
    }  # fmt: skip

    def initialize() -> str:
        uri.write_text(re.sub(r"@[^/]+/", f"@{new_mongod}/", uri.read_text()))
        subprocess.run([sys.executable, "deploy/init_mongodb.py", new_mongod], cwd=ROOT, env=environment, check=True)
        return uri.read_text().strip()

    with pymongo.MongoClient(initialize()) as client:
        database = client.get_default_database()
        with client.start_session() as session, session.start_transaction():
            database["things"].insert_one({"_id": 1}, session=session)
        with pytest.raises(OperationFailure, match="not authorized"):
            client["another"]["things"].insert_one({})

    initialize()
    uri.write_text(re.sub(r":[^:@]+@", ":another-password@", uri.read_text()))
    with pymongo.MongoClient(initialize()) as client:
        assert client.get_default_database()["things"].count_documents({}) == 1


@pytest.mark.quick
def test_the_portals_user_gets_the_documented_privileges() -> None:
    page = (ROOT / "docs" / "how-to" / "production.md").read_text()
    [block] = re.findall(r"createRole.*?\"actions\": (\[.*?\])", page, re.DOTALL)
    assert runpy.run_path(str(ROOT / "deploy" / "init_mongodb.py"))["ACTIONS"] == json.loads(block)
