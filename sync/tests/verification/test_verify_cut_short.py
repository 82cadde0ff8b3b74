"""An interrupted verify says why in its first line, and how to continue in its second."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from pymongo.database import Database

from finance.models import Account
from sync.tests.support.factories import make
from sync.tests.support.hurry import confirm
from sync.tests.support.processes import script
from sync.verification.models import Verification
from tests.servers import Mongo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine, pytest.mark.slow]


@pytest.mark.parametrize(
    ("options", "then"),
    [((), "To continue: manage.py sync verify finance.account --resume"),
     (("--repair", "--quiet"), "To continue: manage.py sync verify finance.account --resume --repair --quiet"),
     (("--json",), "To continue: manage.py sync verify finance.account --resume --json"),
     (("--sample", "1"), "A sample cannot be resumed. Run the command again.")],
)  # fmt: skip
def test_verify_is_interrupted_while_mongodb_is_down(
    mongo: Database, mongod: Mongo, settings: Any, capsys: pytest.CaptureFixture[str], options: Any, then: str
) -> None:
    make(1).save()
    confirm()
    settings.SYNC_TIMEOUT = 0.5
    mongod.kill()
    with pytest.raises(CommandError) as error:
        call_command("sync", "verify", "account", *options, stdout=io.StringIO())
    first, second = str(error.value).splitlines()
    assert first.startswith("MongoDB does not respond")
    assert second == then
    assert error.value.returncode == 2
    assert "Interrupted" not in capsys.readouterr().err


def test_verify_is_interrupted_when_mysql_closes_the_connection(
    mongo: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_connection(*args: Any, **kwargs: Any) -> None:
        raise OperationalError(2013, "Lost connection to server during query")

    monkeypatch.setattr("sync.cli.verify.verify", lose_connection)
    with pytest.raises(CommandError) as error:
        call_command("sync", "verify", "account", stdout=io.StringIO())
    first, second = str(error.value).splitlines()
    assert first.startswith("MySQL closed the connection (Lost connection")
    assert second.startswith("To continue: ")


def test_control_c_leaves_a_run_that_can_be_resumed_and_says_how(mongo: Database) -> None:
    Account.objects.bulk_create([make(number) for number in range(30)])
    confirm()
    mongo.accounts.delete_many({})
    with script("sync.tests.support.scripts.verify_with_a_long_pause") as process:
        process.until(Verification.objects.exists)
        time.sleep(0.5)
        process.interrupt()
        assert process.wait(30) == 1
    output = process.stderr
    arguments = "finance.account finance.customer --resume --repair"
    assert f"Interrupted. To continue: manage.py sync verify {arguments}" in output
    assert "Traceback" not in output
    assert Verification.objects.get().finished_at is None
