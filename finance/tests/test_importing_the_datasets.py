"""Round trip of the real data sets: the documents in MongoDB have the exported values and types."""

import bson
import pytest
from django.core.management import call_command

from finance.models import Account, Customer, Transaction
from finance.tests.files import DATASETS, dataset
from sync.outbox.models import Change
from sync.tests.support.hurry import confirm

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.engine,
    pytest.mark.skipif(not DATASETS.is_dir(), reason="the public data sets are missing"),
]
FILES = [
    ("accounts.json", Account, "accounts", 1746),
    ("customers-100.json", Customer, "customers", 100),
    ("transactions-1.json", Transaction, "transactions", 1),
]


def parts(document):
    return {name: bson.encode({"": value}) for name, value in document.items() if name != "_sync"}


def test_every_document_is_in_both_databases_with_its_types(mongo, capsys):
    call_command("import_dataset", str(DATASETS))
    out = capsys.readouterr().out
    assert "sales-1.json: skipped" in out
    assert "stories-1.json: skipped" in out
    assert "MongoDB has it all." in out
    for name, model, collection, count in FILES:
        assert model.objects.count() == mongo[collection].count_documents({}) == count
        stored = {document["_id"]: parts(document) for document in mongo[collection].find()}
        assert stored == {document["_id"]: parts(document) for document in dataset(name)}


def test_a_second_import_writes_nothing(mongo, capsys):
    call_command("import_dataset", str(DATASETS))
    before = {document["_id"]: document["_sync"] for document in mongo.accounts.find()}
    capsys.readouterr()
    call_command("import_dataset", str(DATASETS))
    counts = [line.split()[1:] for line in capsys.readouterr().out.splitlines()[1:4]]
    assert counts == [["0", "0", f"{count:,}", "0"] for *_, count in FILES]
    confirm()
    assert not Change.objects.exists()
    assert before == {document["_id"]: document["_sync"] for document in mongo.accounts.find()}
