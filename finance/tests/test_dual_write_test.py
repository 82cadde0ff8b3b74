"""`manage.py dual_write_test` reports the real outcome and leaves nothing behind."""

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from pymongo.database import Database

from finance.management.commands import dual_write_test
from finance.models import Transaction
from sync.mongodb.client import forget_clients
from tests.servers import Mongo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("dual_write_test", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_it_shows_three_steps_that_agree(mongo: Database) -> None:
    out = run()
    assert out.count("✔ equal") == 3
    assert f"{connection.display_name} row" in out
    assert "MongoDB document" in out
    assert mongo.transactions.count_documents({}) == 0
    assert not Transaction.objects.exists()


def test_the_keep_option_keeps_the_transaction(mongo: Database) -> None:
    assert run("--keep").count("✔ equal") == 2
    [document] = mongo.transactions.find()
    assert document["transaction_count"] == 2


def test_it_exits_with_1_and_cleans_up_when_the_databases_differ(
    mongo: Database, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SYNC_INLINE = False  # and no relay is running
    monkeypatch.setattr(dual_write_test, "PATIENCE", 0.2)
    with pytest.raises(SystemExit) as end:
        run()
    assert end.value.code == 1
    assert not Transaction.objects.exists()


def test_it_exits_with_2_when_mongodb_is_unreachable(mongo: Database, mongod: Mongo, settings: Any) -> None:
    settings.SYNC_TIMEOUT = 0.5
    forget_clients()
    mongod.kill()
    with pytest.raises(CommandError, match="MONGODB_URI") as error:
        run()
    assert error.value.returncode == 2
    assert not Transaction.objects.exists()
    forget_clients()
