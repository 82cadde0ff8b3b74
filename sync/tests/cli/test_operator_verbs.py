"""The operators' subcommands pause, resume, retry, discard and trace: effects and messages."""

from typing import Any

import pytest
from bson import ObjectId
from django.core.management import CommandError, call_command
from pymongo.database import Database

from finance.models import Account
from sync.cli import VERBS
from sync.outbox.models import Change
from sync.outbox.pauses import PAUSED
from sync.outbox.relay import Relay
from sync.tests.support.commands import sync
from sync.tests.support.compare import differences
from sync.tests.support.factories import make
from sync.tests.support.hurry import confirm
from tests.servers import Mongo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture
def account(mongo: Database) -> Account:
    account = make(1)
    account.save()
    confirm()
    return account


def fail(account: Account) -> None:
    Change.objects.create(
        model="finance.account", key=account.pk, due_at="2020-01-01T00:00Z", failed=True, attempts=5, error="because"
    )


def test_a_paused_model_is_not_delivered_until_it_is_resumed(account: Account, mongo: Database) -> None:
    assert sync("pause", "account")[0] == 0
    PAUSED.asked_at = float("-inf")
    Account.objects.update(limit=77)
    Relay().drain()
    assert mongo.accounts.find_one()["limit"] != 77
    assert Change.objects.filter(claim="").count() == 1
    sync("resume", "account")
    PAUSED.asked_at = float("-inf")
    Relay().drain()
    assert differences(Account, mongo) == []


def test_retry_makes_failed_changes_due(account: Account, mongo: Database) -> None:
    fail(account)
    assert sync("retry") == (0, "1 change will be retried now.\n")
    Relay().drain()
    assert not Change.objects.exists()


def test_retry_skips_changes_that_wait_without_all(account: Account) -> None:
    fail(account)
    Change.objects.update(failed=False, due_at="2999-01-01T00:00Z")
    assert sync("retry", "account")[1] == "0 changes will be retried now.\n"
    assert sync("retry", "account", "--all")[1] == "1 change will be retried now.\n"


def test_retry_delivers_named_rows_again(account: Account, mongo: Database) -> None:
    mongo.accounts.delete_many({})
    assert sync("retry", "account", account.pk)[0] == 0
    Relay().drain()
    assert differences(Account, mongo) == []
    with pytest.raises(CommandError, match="is not a key") as error:
        sync("retry", "account", "nonsense")
    assert error.value.returncode == 2


def test_discard_removes_failed_changes_only_when_confirmed(account: Account, monkeypatch: Any) -> None:
    fail(account)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert sync("discard", "account") == (1, "Nothing was discarded.\n")
    assert Change.objects.exists()
    assert sync("discard", "account", "--yes")[0] == 0
    assert not Change.objects.exists()


def test_trace_shows_row_document_and_changes(account: Account, mongo: Database) -> None:
    status, out = sync("trace", "account", account.pk)
    assert status == 0
    assert "verdict:   in sync" in out
    mongo.accounts.update_one({"_id": ObjectId(account.pk)}, {"$set": {"limit": 3}})
    fail(account)
    status, out = sync("trace", "account", account.pk)
    assert status == 1
    assert "verdict:   different: limit" in out
    assert "failed since" in out
    assert "because" in out


def test_trace_of_a_key_without_row_and_document(mongo: Database) -> None:
    status, out = sync("trace", "account", "0" * 24)
    assert status == 0
    assert out.count("none") == 2
    with pytest.raises(CommandError, match="is not a key"):
        sync("trace", "account", "x")


def test_trace_fails_while_mongodb_is_unreachable(account: Account, mongod: Mongo, settings: Any) -> None:
    settings.SYNC_TIMEOUT = 0.5
    mongod.kill()
    with pytest.raises(CommandError, match="MongoDB does not respond") as error:
        sync("trace", "account", account.pk)
    assert error.value.returncode == 2


@pytest.mark.parametrize("verb", VERBS)
def test_every_subcommand_has_help_with_examples_exit_status_and_next_step(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        call_command("sync", verb, "--help")
    assert end.value.code == 0
    _, examples, rest = capsys.readouterr().out.partition("\nexamples:\n")
    assert f"manage.py sync {verb}" in examples + rest
    assert rest.index("\nexit status:\n  0  ") < rest.index("\nNext: ")
