"""Documents follow their rows through cascades, relations, inheritance and keys that the database generates."""

from collections.abc import Callable

import pytest
from django.db import connection, transaction
from pymongo.database import Database

from sync.mapping.registry import Target
from sync.tests.zoo.models import Animal, Bird, HeadKeeper, Keeper, Tag
from sync.verification.verify import verify

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.engine]


@pytest.fixture
def zoo(mongo: Database) -> list[Keeper]:
    keepers = [Keeper.objects.create(name=name) for name in ("Ann", "Bob")]
    for keeper in keepers:
        Animal.objects.create(name=f"cat of {keeper}", keeper=keeper, vet=keepers[1])
        Bird.objects.create(name=f"owl of {keeper}", keeper=keeper, vet=keepers[1], span=3)
    return keepers


def documents(mongo: Database) -> dict[str, set]:
    names = {"zoo_keepers": Keeper, "zoo_animals": Animal, "zoo_birds": Bird}
    return {name: {str(document["_id"]) for document in mongo[name].find()} for name in names}


def keys() -> dict[str, set]:
    """The keys in each table, read with plain SQL."""
    tables = {
        "zoo_keepers": ("zoo_keeper", "id"),
        "zoo_animals": ("zoo_animal", "id"),
        "zoo_birds": ("zoo_bird", "animal_ptr_id"),
    }
    found = {}
    with connection.cursor() as cursor:
        for name, (table, column) in tables.items():
            cursor.execute(f"SELECT {column} FROM {table}")
            found[name] = {row[0] for row in cursor}
    return found


def assert_equal(mongo: Database) -> None:
    assert documents(mongo) == keys()
    for model in (Keeper, Animal, Bird, Tag):
        assert verify(Target(model)).mismatches == []


def test_an_inherited_model_has_a_document_in_each_collection(zoo: list[Keeper], mongo: Database) -> None:
    bird = Bird.objects.get(keeper=zoo[0])
    bird.span, bird.name = 9, "eagle"
    bird.save()
    assert mongo.zoo_birds.find_one({"span": 9})
    assert mongo.zoo_animals.find_one({"name": "eagle"})
    assert_equal(mongo)


def delete_keeper(zoo: list[Keeper]) -> None:
    zoo[0].delete()


def delete_the_vet(zoo: list[Keeper]) -> None:
    Animal.objects.filter(keeper=zoo[1]).delete()
    zoo[1].delete()


def delete_all_by_queryset(zoo: list[Keeper]) -> None:
    Keeper.objects.all().delete()


def delete_child_rows_of_inheritance(zoo: list[Keeper]) -> None:
    Bird.objects.all().delete()


def delete_parent_rows_of_inheritance(zoo: list[Keeper]) -> None:
    Animal.objects.filter(name__startswith="owl").delete()


def update_with_the_child_model(zoo: list[Keeper]) -> None:
    Bird.objects.update(span=5)
    Bird.objects.filter(keeper=zoo[0]).update(name="crow", span=6)


def update_with_a_relation(zoo: list[Keeper]) -> None:
    zoo[0].animal_set.update(vet=None)
    zoo[1].patients.clear()


def update_through_a_join(zoo: list[Keeper]) -> None:
    Animal.objects.filter(keeper__name="Ann", name__startswith="cat").update(name="tiger")


def change_with_the_proxy_model(zoo: list[Keeper]) -> None:
    head = HeadKeeper.objects.create(name="Head")
    HeadKeeper.objects.filter(name="Bob").update(name="Rob")
    head.delete()


WRITES = [
    delete_keeper, delete_the_vet, delete_all_by_queryset, delete_child_rows_of_inheritance,
    delete_parent_rows_of_inheritance, update_with_the_child_model, update_with_a_relation, update_through_a_join,
    change_with_the_proxy_model,
]  # fmt: skip


@pytest.mark.parametrize("write", WRITES)
def test_the_documents_follow_the_rows(
    write: Callable[[list[Keeper]], None], zoo: list[Keeper], mongo: Database
) -> None:
    write(zoo)
    assert_equal(mongo)


@pytest.mark.parametrize("write", WRITES)
def test_a_rolled_back_transaction_changes_no_document(
    write: Callable[[list[Keeper]], None], zoo: list[Keeper], mongo: Database
) -> None:
    before = list(mongo.zoo_animals.find()), list(mongo.zoo_keepers.find()), list(mongo.zoo_birds.find())
    with transaction.atomic():
        write(zoo)
        transaction.set_rollback(True)
    assert before == (list(mongo.zoo_animals.find()), list(mongo.zoo_keepers.find()), list(mongo.zoo_birds.find()))
    assert_equal(mongo)


def test_keys_generated_by_the_database_are_captured(mongo: Database) -> None:
    tag = Tag.objects.create()
    assert mongo.zoo_tags.find_one({"_id": tag.pk})["name"] == "new"
    if connection.features.can_return_rows_from_bulk_insert:
        Tag.objects.bulk_create([Tag(name="a"), Tag(name="b")])
        assert mongo.zoo_tags.count_documents({}) == 3
    else:
        with pytest.raises(ValueError, match="made in Python"):
            Tag.objects.bulk_create([Tag(name="a")])
        assert Tag.objects.count() == 1, "rows that cannot be captured are not written"
