"""Where a server is out of reach, a command says why in its first line, and then how to go on."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from pymongo.database import Database

from sync.tests.support.factories import make
from sync.tests.support.hurry import confirm
from tests.servers import Mongo

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.mark.parametrize(
    ("options", "then"),
    [((), "To go on: manage.py sync verify finance.account --resume"),
     (("--repair", "--quiet"), "To go on: manage.py sync verify finance.account --resume --repair --quiet"),
     (("--json",), "To go on: manage.py sync verify finance.account --resume --json"),
     (("--sample", "1"), "A sample is not resumed; run it again.")],
)  # fmt: skip
def test_verify_while_mongodb_is_down(
    mongo: Database, mongod: Mongo, settings: Any, capsys: pytest.CaptureFixture[str], options: Any, then: str
) -> None:
    make(1).save()
    confirm()
    settings.SYNC_TIMEOUT = 0.5
    mongod.kill()
    with pytest.raises(CommandError) as error:
        call_command("sync", "verify", "account", *options, stdout=io.StringIO())
    first, second = str(error.value).splitlines()
    assert first.startswith("MongoDB does not answer")
    assert second == then
    assert error.value.returncode == 2
    assert "Interrupted" not in capsys.readouterr().err


def test_verify_while_mysql_goes(mongo: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def go(*args: Any, **kwargs: Any) -> None:
        raise OperationalError(2013, "Lost connection to server during query")

    monkeypatch.setattr("sync.cli.verify.verify", go)
    with pytest.raises(CommandError) as error:
        call_command("sync", "verify", "account", stdout=io.StringIO())
    first, second = str(error.value).splitlines()
    assert first.startswith("MySQL ended the connection (Lost connection")
    assert second.startswith("To go on: ")


def test_who_interrupts_it_is_told_how_to_go_on(
    mongo: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sync.cli.verify.verify", interrupt)
    with pytest.raises(SystemExit) as end:
        call_command("sync", "verify", "account", stdout=io.StringIO())
    assert end.value.code == 1
    assert "Interrupted. To go on: manage.py sync verify" in capsys.readouterr().err
