"""Writes that bypass the ORM are not captured: verify finds and repairs them, and system checks reject their causes."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, connections, models
from pymongo.database import Database

from finance.models import Account
from sync.checks.mirrored import check_database
from sync.mapping.registry import Target
from sync.outbox.models import Change
from sync.tests.support.compare import differences
from sync.tests.support.factories import make
from sync.tests.support.hurry import confirm
from sync.tests.support.processes import finished, script
from sync.tests.zoo.models import Animal, Keeper, Tag
from sync.verification.verify import verify

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


def sql(statement: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def update_with_a_cursor(accounts: list[Account]) -> dict[str, str]:
    sql("UPDATE finance_account SET account_id = 99 WHERE account_id = 1")
    return {accounts[1].pk: "different"}


def insert_with_a_cursor(accounts: list[Account]) -> dict[str, str]:
    columns = "account_id, products, extra"
    sql(f"INSERT INTO finance_account (_id, {connection.ops.quote_name('limit')}, {columns}) VALUES (%s, 1, 5, %s, %s)",
        "a" * 24, "[]", "{}")  # fmt: skip
    return {"a" * 24: "missing"}


def delete_with_a_cursor(accounts: list[Account]) -> dict[str, str]:
    sql("DELETE FROM finance_account WHERE account_id = 0")
    return {accounts[0].pk: "extra"}


def truncate(accounts: list[Account]) -> dict[str, str]:
    sql("DELETE FROM finance_account" if connection.vendor == "sqlite" else "TRUNCATE finance_account")
    return {account.pk: "extra" for account in accounts}


def raw_delete(accounts: list[Account]) -> dict[str, str]:
    Account.objects.filter(account_id=2)._raw_delete("default")
    return {accounts[2].pk: "extra"}


def historical_model(accounts: list[Account]) -> dict[str, str]:
    """Update with the historical model that a data migration gets."""
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    state = executor.loader.project_state(executor.loader.graph.leaf_nodes())
    state.apps.get_model("finance", "Account").objects.filter(account_id=1).update(account_id=9)
    return {accounts[1].pk: "different"}


def another_program(accounts: list[Account]) -> dict[str, str]:
    parameters = connection.get_connection_params()
    keys = ("host", "port", "user", "password", "database")
    arguments = {name: parameters[name] for name in keys if parameters.get(name)}
    module = connection.Database.__name__.replace(".dbapi2", "")
    program = script("sync.tests.support.scripts.update_with_driver", module, json.dumps(arguments))
    assert finished(program).status == 0
    return {accounts[0].pk: "different"}


WRITES = [
    update_with_a_cursor, insert_with_a_cursor, delete_with_a_cursor, truncate, raw_delete, historical_model,
    another_program,
]  # fmt: skip


@pytest.mark.parametrize("write", WRITES)
def test_verify_finds_and_repairs_uncaptured_writes(
    write: Callable[[list[Account]], dict[str, str]], accounts: list[Account], mongo: Database
) -> None:
    expected = write(accounts)
    assert not Change.objects.exists()
    assert {difference.key: difference.kind for difference in verify(Target(Account)).mismatches} == expected
    with suppress(SystemExit):
        call_command("sync", "verify", "account", "--repair", "--prune")
    assert differences(Account, mongo) == []


def test_a_backfill_delivers_uncaptured_writes(accounts: list[Account], mongo: Database) -> None:
    insert_with_a_cursor(accounts)
    update_with_a_cursor(accounts)
    call_command("sync", "backfill", "account")
    assert differences(Account, mongo) == []


def test_saving_rows_that_were_read_with_raw_sql_is_captured(accounts: list[Account], mongo: Database) -> None:
    for account in Account.objects.raw("SELECT _id, account_id FROM finance_account"):
        account.account_id += 100
        account.save()
    assert sorted(document["account_id"] for document in mongo.accounts.find()) == [100, 101, 102]
    assert differences(Account, mongo) == []


def test_many_to_many_relations_change_no_document(mongo: Database) -> None:
    """Relations are rows of a separate table that is not mirrored, so no document contains them."""
    keeper = Keeper.objects.create(name="Ann")
    cat, tags = Animal.objects.create(name="cat", keeper=keeper), [Tag.objects.create(), Tag.objects.create()]
    confirm()
    before = list(mongo.zoo_animals.find())
    cat.tags.set(tags)
    tags[0].animal_set.add(cat)
    cat.tags.remove(tags[0])
    cat.tags.clear()
    cat.tags.create(name="made by the relation")
    assert list(mongo.zoo_animals.find()) == before
    assert mongo.zoo_tags.count_documents({"name": "made by the relation"}) == 1
    for model in (Animal, Tag):
        assert verify(Target(model)).mismatches == []


# --- other aliases --------------------------------------------------------------------------------------------------


@pytest.fixture
def alias(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Adds an alias to DATABASES with the settings of the default one; arguments override them."""

    def add(**different: Any) -> str:
        monkeypatch.setitem(connections.settings, "other", {**connection.settings_dict, **different})
        connections["other"].connect()
        return "other"

    yield add
    connections["other"].close()
    del connections["other"]


def test_another_alias_of_the_same_database_is_captured(accounts: list[Account], mongo: Database, alias: Any) -> None:
    other = alias()
    accounts[0].limit = 5
    accounts[0].save(using=other)
    Account.objects.using(other).filter(account_id=1).update(limit=6)
    accounts[2].delete(using=other)
    Account.objects.using(other).bulk_create([make(9)])
    assert differences(Account, mongo) == []
    confirm()
    assert not Change.objects.filter(settling=False).exists(), "relays find the changes"


def test_rows_in_another_database_are_refused(
    accounts: list[Account], mongo: Database, alias: Any, tmp_path: Path
) -> None:
    """No relay reads that database's change table, and its rows would overwrite the documents of the other rows."""
    other = alias(ENGINE="django.db.backends.sqlite3", NAME=str(tmp_path / "other.sqlite3"), OPTIONS={}, HOST="")
    call_command("migrate", database=other, run_syncdb=True, verbosity=0)
    before = list(mongo.accounts.find().sort("_id"))
    writes: list[Callable[[], Any]] = [
        lambda: Account(account_id=9, limit=9).save(using=other),
        lambda: Account.objects.using(other).bulk_create([make(9)]),
    ]
    for write in writes:
        with pytest.raises(ValueError, match="'default', and 'other' is another one"):
            write()
    assert not Account.objects.using(other).exists()
    assert list(mongo.accounts.find().sort("_id")) == before


# --- database schema ------------------------------------------------------------------------------------------------


@pytest.fixture
def by_hand(mongo: Database, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replaces the table of a mirrored model with one whose foreign key has the given actions."""

    def make_table(actions: str) -> None:
        pk = Keeper._meta.pk.db_parameters(connection)
        kind = f"{pk['type']} COLLATE {pk['collation']}" if pk.get("collation") else pk["type"]
        sql(f"CREATE TABLE by_hand (id integer PRIMARY KEY, name varchar(50), keeper_id {kind},"
            f" CONSTRAINT by_hand_key FOREIGN KEY (keeper_id) REFERENCES zoo_keeper (id) {actions})")  # fmt: skip
        monkeypatch.setattr(Tag._meta, "db_table", "by_hand")

    yield make_table
    sql("DROP TABLE IF EXISTS by_hand")


@pytest.mark.parametrize("action", ["ON DELETE CASCADE", "ON DELETE SET NULL", "ON UPDATE CASCADE"])
def test_a_system_check_rejects_a_foreign_key_with_a_referential_action(action: str, by_hand: Any) -> None:
    by_hand(action)
    [error] = check_database(None, databases=["default"])
    assert error.id == "sync.E019"
    problem = f"The foreign key from by_hand to zoo_keeper has {action}, so MySQL changes rows without capture."
    assert error.msg == problem


def test_a_foreign_key_that_only_restricts_passes_the_check(by_hand: Any) -> None:
    by_hand("ON DELETE RESTRICT ON UPDATE NO ACTION")
    assert check_database(None, databases=["default"]) == []


@pytest.fixture
def text_key(mongo: Database, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gives a mirrored model a text key, in a table whose key column has the given collation."""

    def make_table(collation: str) -> None:
        sql(f"CREATE TABLE by_hand (id varchar(50) COLLATE {collation} PRIMARY KEY, name varchar(50)) CHARSET utf8mb4")
        monkeypatch.setattr(Tag._meta, "db_table", "by_hand")
        key = models.CharField(primary_key=True, max_length=50)
        key.set_attributes_from_name("id")
        monkeypatch.setattr(Tag._meta, "pk", key)

    if connection.vendor != "mysql":
        pytest.skip("SQLite compares text byte by byte")
    yield make_table
    sql("DROP TABLE IF EXISTS by_hand")


@pytest.mark.parametrize("collation", ["utf8mb4_general_ci", "utf8mb4_bin"])
def test_a_system_check_rejects_a_collation_with_several_spellings_of_a_key(collation: str, text_key: Any) -> None:
    """Several keys that the database treats as equal would share a document. utf8mb4_bin treats "a " as "a"."""
    text_key(collation)
    [error] = check_database(None, databases=["default"])
    assert error.id == "sync.E025"
    assert f"zoo.Tag's key has the collation {collation}," in error.msg
    sql("DROP TABLE by_hand")
    text_key(error.hint.split("'")[1])
    assert check_database(None, databases=["default"]) == []


def test_the_projects_own_tables_pass_the_check(mongo: Database) -> None:
    call_command("check", databases=["default"], tags=["database"])
    assert check_database(None, databases=["default"]) == []
    assert check_database(None, databases=None) == [], "without databases, the check queries none"
