"""Customers are found by the start of any word, on every database, however they were written."""

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from finance.models import Customer, CustomerWord
from finance.searching import matching
from finance.tests.people import DAY
from finance.upserting import upsert
from sync.outbox.capture import record

pytestmark = [pytest.mark.quick, pytest.mark.django_db, pytest.mark.engine]


def made(name, username="", email=""):
    return Customer(name=name, username=username or "user", email=email, birthdate=DAY)


def found(text):
    return sorted(Customer.objects.filter(matching(text)).values_list("name", flat=True))


def sql(text, *values):
    with connection.cursor() as cursor:
        cursor.execute(text, values)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("hammond", ["James Hammond"]),
        ("ham", ["James Hammond"]),
        ("HAM jam", ["James Hammond"]),
        ("Hammond, James", ["James Hammond"]),
        ("jam", ["James Hammond", "Jamie O'Brien-Núñez"]),
        ("brien", ["Jamie O'Brien-Núñez"]),
        ("o'brien", ["Jamie O'Brien-Núñez"]),
        ("nunez", ["Jamie O'Brien-Núñez"]),
        ("NÚÑEZ", ["Jamie O'Brien-Núñez"]),
        ("strasse", ["Straße"]),
        ("jh_7", ["James Hammond"]),
        ("james.h@ex", ["James Hammond"]),
        ("ammond", []),
        ("hammond jamie", []),
        ("example.com", []),
        ("%", []),
        ("_ames", []),
        (" , ", []),
        ("x " * 100, []),
        (" ".join(f"w{number}" for number in range(100)), []),
    ],
)
def test_each_word_of_the_search_is_the_start_of_a_word(text, names):
    Customer.objects.bulk_create([made("James Hammond", "jh_7", "James.H@example.com"), made("Jamie O'Brien-Núñez")])
    made("Straße").save()
    assert found(text) == names


def rename(customer):
    customer.name = "Bert Blum"
    customer.save()


def rename_one_field(customer):
    customer.name = "Bert Blum"
    customer.save(update_fields=["name"])


def bulk_update(customer):
    customer.name = "Bert Blum"
    Customer.objects.bulk_update([customer], ["name"])


def importing(customer):
    customer.name = "Bert Blum"
    upsert([customer])


def by_sql(customer):
    """As another program, whose write the follower then reports."""
    sql("UPDATE finance_customer SET name = 'Bert Blum'")
    with transaction.atomic():
        record(Customer, [customer.pk], inline=False)


def by_sql_without_a_follower(customer):
    sql("UPDATE finance_customer SET name = 'Bert Blum'")
    call_command("refresh_search")


@pytest.mark.parametrize(
    "write",
    [
        rename, rename_one_field, bulk_update, importing, by_sql, by_sql_without_a_follower,
        lambda customer: Customer.objects.filter(pk=customer.pk).update(name="Bert Blum"),
    ],
)  # fmt: skip
def test_every_way_to_write_a_customer_updates_the_words(write):
    customer = made("Anna Baum")
    customer.save()
    assert found("baum") == ["Anna Baum"]
    write(customer)
    assert found("blum") == ["Bert Blum"]
    assert found("baum") == []


@pytest.mark.parametrize("delete", [Customer.delete, lambda customer: Customer.objects.filter(pk=customer.pk).delete()])
def test_a_deleted_customer_leaves_no_words(delete):
    Customer.objects.bulk_create([made("Anna Baum"), made("Bert Blum")])
    delete(Customer.objects.get(name="Anna Baum"))
    assert set(CustomerWord.objects.values_list("word", flat=True)) == {"bert", "blum", "user"}


def test_a_write_that_is_rolled_back_leaves_no_words():
    with transaction.atomic():
        made("Anna Baum").save()
        assert found("baum") == ["Anna Baum"]
        transaction.set_rollback(True)
    assert not CustomerWord.objects.exists()


def test_other_programs_may_delete_customers_and_the_command_tidies_up(capsys):
    Customer.objects.bulk_create([made("Anna Baum"), made("Bert Blum")])
    sql("DELETE FROM finance_customer WHERE name = 'Anna Baum'")
    assert found("baum") == []
    call_command("refresh_search")
    assert capsys.readouterr().out.strip() == "0 customers had other words."
    assert set(CustomerWord.objects.values_list("word", flat=True)) == {"bert", "blum", "user"}


def test_the_command_counts_what_it_corrects(capsys):
    Customer.objects.bulk_create([made("Anna Baum"), made("Bert Blum")])
    CustomerWord.objects.filter(word="baum").delete()
    call_command("refresh_search")
    assert capsys.readouterr().out.strip() == "1 customer had other words."
    assert found("baum") == ["Anna Baum"]


def test_a_save_that_changes_no_word_writes_none():
    customer = made("Anna Baum")
    customer.save()
    before = list(CustomerWord.objects.values_list("pk", flat=True))
    customer.address = "1 Road"
    customer.save()
    assert list(CustomerWord.objects.values_list("pk", flat=True)) == before
