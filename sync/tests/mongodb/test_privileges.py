"""With exactly the documented privileges everything works; if one is missing, the error names it."""

import json
import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pymongo
import pytest
from bson import Int64
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command

from finance.models import Account
from sync.mongodb.client import forget_clients
from sync.outbox.models import Change
from sync.outbox.relay import Relay
from sync.tests.support.commands import sync
from sync.tests.support.copies import contents, copying, wait_until_equal
from sync.tests.support.hurry import confirm, hurry
from sync.tests.support.roles import documented
from sync.tests.zoo.models import Visit
from tests.servers import SERVERS, Mongo, mongod

ROOT = "root:root-pw@"


ROLES = documented()
ACTIONS = [(name, action) for name, role in ROLES.items() for action in role["privileges"][0]["actions"]]


class Guarded(Mongo):
    """A replica set with access control."""

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        key = self.folder / "key"
        key.write_text("c3luYw==" * 4)
        key.chmod(0o600)
        self.process = mongod.start(self.folder, self.port, "--auth", "--keyFile", str(key))
        mongod.initiate(self.port)
        with pymongo.MongoClient("127.0.0.1", self.port, directConnection=True) as client:
            client.admin.command("createUser", "root", pwd="root-pw", roles=["root"])

    def address(self, login: str, *path: str) -> str:
        return f"mongodb://{login}127.0.0.1:{self.port}/{'/'.join(path)}?replicaSet=rs0&authSource=admin"

    def user(self, *roles: dict[str, Any]) -> str:
        """Creates a user with these roles only. Returns its login, for an address."""
        with pymongo.MongoClient(self.address(ROOT)) as client:
            for role in roles:
                if client.admin.command("rolesInfo", role["createRole"])["roles"]:
                    client.admin.command("dropRole", role["createRole"])
                client.admin.command(role)
            names = [role["createRole"] for role in roles]
            if client.admin.command("usersInfo", "limited")["users"]:
                client.admin.command("dropUser", "limited")
            client.admin.command("createUser", "limited", pwd="pw", roles=names)
        return "limited:pw@"


def without(role: dict[str, Any], action: str) -> dict[str, Any]:
    [privilege, *others] = role["privileges"]
    left = [name for name in privilege["actions"] if name != action]
    return {**role, "privileges": [{**privilege, "actions": left}, *others]}


@pytest.fixture(scope="module")
def server() -> Iterator[Guarded]:
    guarded = Guarded(SERVERS.place("guarded"))
    guarded.start()
    yield guarded
    guarded.stop()


@pytest.fixture
def client(server: Guarded) -> Iterator[pymongo.MongoClient]:
    """An administrator's client, for empty databases."""
    with pymongo.MongoClient(server.address(ROOT), tz_aware=True) as client:
        for name in ("shop", "backup", "analytics"):
            client.drop_database(name)
        yield client


@pytest.fixture
def as_user(server: Guarded, settings: Any) -> Iterator[Any]:
    """Creates a user with these roles and sets it in MONGODB_URI."""

    def be(*roles: dict[str, Any]) -> None:
        settings.MONGODB_URI = server.address(server.user(*roles), "analytics")
        forget_clients()

    yield be
    forget_clients()


def run(*arguments: str) -> tuple[int, str]:
    """Run `manage.py sync`. Returns the exit status, and the output or the error."""
    try:
        return sync(*arguments)
    except CommandError as error:
        return error.returncode, str(error)


def addresses(server: Guarded, login: str) -> tuple[str, str]:
    return server.address(login, "shop"), server.address(login, "backup")


@pytest.mark.django_db(transaction=True)
def test_copies_work_with_the_documented_privileges(server: Guarded, client: pymongo.MongoClient) -> None:
    pair = addresses(server, server.user(ROLES["syncCopySource"], ROLES["syncCopyDestination"]))
    source, copied = client["shop"]["things"], client["backup"]["things"]
    source.insert_many([{"_id": number, "name": number} for number in range(100)])
    source.create_index("name", unique=True, expireAfterSeconds=10**9)
    client["shop"].command("collMod", "things", validator={"name": {"$lt": 50}})
    assert run("copy", *pair) == (0, "shop.things -> backup.things: 100 read, 100 written\n")
    client["shop"].command("collMod", "things", validator={"name": {"$lt": 60}})
    source.drop_index("name_1")
    source.delete_one({"_id": 1})
    assert run("copy", *pair)[0] == 0
    assert run("copy", *pair, "--verify")[0] == 0
    copied.insert_one({"_id": "more", "name": 1}, bypass_document_validation=True)
    assert run("copy", *pair, "--full")[0] == 0
    assert contents(copied) == contents(source)
    client["backup"]["_sync_copy"].drop()
    assert run("copy", *pair, "--replace")[0] == 0
    with copying(*pair) as process:
        client["shop"]["new"].insert_one({"_id": 1})
        wait_until_equal(client["shop"]["new"], client["backup"]["new"])
        assert process.terminate() == 0
    assert run("copy", *pair, "--promote")[0] == 0


@pytest.mark.django_db(transaction=True)
def test_a_cluster_is_copied_with_the_documented_privileges(
    server: Guarded, client: pymongo.MongoClient, mongo: Any
) -> None:
    role = ROLES["syncCopySource"]
    everywhere = {**role, "privileges": [{**role["privileges"][0], "resource": {"db": "", "collection": ""}}]}
    client["shop"]["things"].insert_one({"_id": 1})
    login = server.user(everywhere)
    status, text = run("copy", server.address(login, ""), SERVERS.mongo.uri(""))
    assert status == 2
    assert "limited lacks listDatabases on all databases" in text
    cluster = {"resource": {"cluster": True}, "actions": ["listDatabases"]}
    page = django_settings.BASE_DIR / "docs" / "how-to" / "copy.md"
    assert json.dumps(cluster).replace("True", "true") in page.read_text()
    login = server.user({**everywhere, "privileges": [*everywhere["privileges"], cluster]})
    try:
        assert run("copy", server.address(login, ""), SERVERS.mongo.uri(""))[0] == 0
        assert contents(mongo.client["shop"]["things"]) == contents(client["shop"]["things"])
    finally:
        mongo.client.drop_database("shop")


@pytest.mark.parametrize(("name", "action"), [one for one in ACTIONS if one[0].startswith("syncCopy")])
def test_a_copy_names_a_missing_privilege(server: Guarded, client: pymongo.MongoClient, name: str, action: str) -> None:
    lesser = without(ROLES[name], action)
    login = server.user(*({**ROLES, name: lesser}[which] for which in ("syncCopySource", "syncCopyDestination")))
    client["shop"]["things"].insert_one({"_id": 1})
    status, text = run("copy", *addresses(server, login))
    assert status == 2
    assert re.search(rf"limited lacks {action} on the database (shop|backup)", text)
    assert "\n" not in text


@pytest.mark.django_db(transaction=True)
def test_pulling_works_with_the_documented_privileges(client: pymongo.MongoClient, as_user: Any) -> None:
    as_user(ROLES["syncPull"])
    client["analytics"]["zoo_visits"].insert_one({"_id": Int64(1), "badge": "a"})
    assert run("pull", "visit", "--once")[0] == 0
    client["analytics"]["zoo_visits"].update_one({"_id": 1}, {"$set": {"badge": "b"}})
    assert run("pull", "visit", "--once")[0] == 0
    assert run("pull", "visit", "--once", "--full")[0] == 0
    assert list(Visit.objects.values_list("badge", flat=True)) == ["b"]
    for action in ROLES["syncPull"]["privileges"][0]["actions"]:
        as_user(without(ROLES["syncPull"], action))
        status, text = run("pull", "visit", "--once")
        assert (status, f"limited lacks {action} on" in text) == (2, True)


@pytest.mark.django_db(transaction=True)
def test_the_portal_works_with_the_documented_privileges(client: pymongo.MongoClient, as_user: Any) -> None:
    as_user(ROLES["portal"])
    documents = client["analytics"]["accounts"]
    account = Account.objects.create(account_id=1, limit=1)
    Account.objects.create(account_id=2, limit=2)
    confirm()
    account.delete()
    confirm()
    assert not Change.objects.filter(attempts__gt=0).exists()
    assert [document["account_id"] for document in documents.find()] == [2]
    documents.delete_many({})
    documents.insert_one({"account_id": 3})
    assert run("verify", "--repair", "--prune")[0] in (0, 1)
    Relay().drain()
    assert [document["account_id"] for document in documents.find()] == [2]
    documents.delete_many({})
    assert run("backfill", "account")[0] == 0
    Relay().drain()
    assert [document["account_id"] for document in documents.find()] == [2]
    assert run("verify")[0] == 0
    assert "MongoDB" in run("status")[1]
    call_command("refresh_totals", stdout=StringIO())


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("action", [action for name, action in ACTIONS if name == "portal"])
def test_the_portal_names_a_missing_privilege(client: pymongo.MongoClient, as_user: Any, action: str) -> None:
    as_user(ROLES["portal"])
    account = Account.objects.create(account_id=1, limit=1)
    confirm()
    as_user(without(ROLES["portal"], action))
    match action:
        case "insert":
            Account.objects.create(account_id=2, limit=1)
        case "remove":
            account.delete()
        case _:
            account.save()
    hurry()
    commands = {"insert": "(insert|update)", "remove": "delete", "createIndex": "createIndexes"}
    with pytest.raises(
        Exception, match=f"not authorized on analytics to execute (command . )?{commands.get(action, action)}"
    ):
        call_command("refresh_totals", stdout=StringIO()) if action == "createIndex" else Relay().drain()
