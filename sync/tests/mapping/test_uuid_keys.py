"""A document with a UUID key is found by its key: it is updated and deleted, not only inserted."""

import uuid

import pytest
from pymongo.database import Database

from sync.tests.support.hurry import confirm
from sync.tests.zoo.models import Typed

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


def test_the_document_is_updated_and_deleted(mongo: Database) -> None:
    row = Typed.objects.create(id=uuid.uuid4(), text="old")
    row.text = "new"
    row.save()
    [document] = mongo.zoo_typed.find()
    assert document["text"] == "new"
    Typed.objects.filter(pk=row.pk).update(text="newer")
    confirm()
    [document] = mongo.zoo_typed.find()
    assert document["text"] == "newer"
    row.delete()
    assert mongo.zoo_typed.find_one() is None
