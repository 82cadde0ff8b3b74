"""Stories: documents match the data set, and the admin lists them."""

from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId, json_util
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse
from pymongo.database import Database

from examples.news.models import Story
from sync.tests.support.publishing import story
from tests.servers import ROOT

pytestmark = pytest.mark.django_db(transaction=True)

DATA = ROOT.parent / "shared" / "datasets" / "stories-1.json"


@pytest.mark.skipif(not DATA.exists(), reason="the data set is missing")
def test_a_document_of_the_data_set_is_stored_unchanged(mongo: Database) -> None:
    line = Path(DATA).read_text().splitlines()[0]
    original: dict[str, Any] = json_util.loads(line)
    Story.from_document(original).save()
    document = mongo.stories.find_one()
    document.pop("_sync")
    assert document == original
    assert list(document) == list(original)


def test_the_id_of_a_story_is_not_its_primary_key(mongo: Database) -> None:
    one = story(story_id="19970068")
    document = mongo.stories.find_one()
    assert (document["_id"], document["id"]) == (ObjectId(one.pk), "19970068")
    assert "story_id" not in document


def test_the_admin_lists_filters_and_finds_stories(client: Client) -> None:
    story(title="A hood", status="popular")
    story(title="A cat", status="upcoming")
    client.force_login(get_user_model().objects.create_superuser("root", "root@example.com", "a long password"))
    address = reverse("admin:news_story_changelist")

    def titles(**query: str) -> set[str]:
        response = client.get(address, query)
        assert response.status_code == 200
        return {one.title for one in response.context["cl"].result_list}

    assert titles() == {"A hood", "A cat"}
    assert titles(status__exact="upcoming") == {"A cat"}
    assert titles(q="hood") == {"A hood"}
