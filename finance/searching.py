"""Finding customers by the start of any word of their name, or of their username or email address.

An index can answer this only if it has each word, so the table CustomerWord holds them. Every write of a customer
updates its words in the same transaction: sync reports each written key with the signal `rows_changed`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from typing import Any

from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models import Exists, OuterRef, Q

from finance.models import Customer, CustomerWord
from sync.core.batching import CHUNK, chunks

LENGTH = 64  # characters kept of a word
MOST = 8  # words that are compared, the longest first: MySQL joins up to 61 tables
PARTS = re.compile(r"\w+")
SOURCES = ("name", "username", "email")


def matching(text: str) -> Q:
    """Customers for whom each word of the text is the start of one of their words. None, if the text has no word."""
    words = {word.strip(",;") for word in _words(text)} - {""}
    found = Q() if words else Q(pk__in=[])
    for word in sorted(words, key=len, reverse=True)[:MOST]:
        found &= Q(pk__in=CustomerWord.objects.filter(word__istartswith=word).values("customer"))
    return found


def with_email(email: str) -> Q:
    """Customers with this email address, in any case. None, if it is empty."""
    words = _words(email)
    if len(words) != 1:
        return Q(pk__in=[])
    # The index has the words of names and usernames, too; the column tells them apart.
    return Q(pk__in=CustomerWord.objects.filter(word=words[0]).values("customer"), email__iexact=email.strip())


def words_of(name: str, username: str, email: str) -> set[str]:
    """All words, and of the name also the parts of each: "O'Brien" is found as "o'brien" and as "brien".

    A customer of whom a column cannot be read is found by the others.
    """
    parts = [part[:LENGTH] for word in _words(name) for part in PARTS.findall(word)]
    return {*parts, *_words(name), *_words(username), *_words(email)}


def _words(text: str) -> list[str]:
    """Without case and accents, so that every database finds the same."""
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    return [word[:LENGTH] for word in plain.casefold().split()]


def keep_words(keys: Sequence[Any], using: str, **_: Any) -> None:
    """Receives `rows_changed` of customers."""
    for part in chunks(keys):
        write_words(part, using)


def write_words(
    keys: Collection[Any], using: str = DEFAULT_DB_ALIAS, customers: Any = Customer, words: Any = CustomerWord
) -> int:
    """Makes the words of these customers right, in the caller's transaction. Returns how many customers had others.

    The rows are locked, so that no older name can overwrite the words of a newer one.
    customers, words: the models, which differ in a migration.
    """
    rows = customers.objects.using(using).filter(pk__in=keys).order_by("pk").select_for_update()
    due = {key: words_of(*map(str, texts)) for key, *texts in rows.values_list("pk", *SOURCES)}
    stored = words.objects.using(using).filter(customer__in=keys)
    held: dict[Any, set[str]] = {}
    for key, word in stored.values_list("customer_id", "word"):
        held.setdefault(key, set()).add(word)
    wrong = [key for key in {**held, **due} if held.get(key, set()) != due.get(key, set())]
    if wrong:
        stored.filter(customer__in=wrong).delete()
        new = [words(customer_id=key, word=word) for key in wrong for word in sorted(due.get(key, ()))]
        words.objects.using(using).bulk_create(new, batch_size=CHUNK)
    return len(wrong)


def write_all_words(using: str = DEFAULT_DB_ALIAS, customers: Any = Customer, words: Any = CustomerWord) -> int:
    """Makes the words of all customers right, in batches. Returns how many customers had others."""
    changed, last = 0, ""
    keys = customers.objects.using(using).order_by("pk").values_list("pk", flat=True)
    while part := list(keys.filter(pk__gt=last)[:CHUNK]):
        with transaction.atomic(using):
            changed += write_words(part, using, customers, words)
        last = part[-1]
    orphans = words.objects.using(using).filter(~Exists(customers.objects.filter(pk=OuterRef("customer"))))
    while part := list(orphans.values_list("pk", flat=True)[:CHUNK]):
        words.objects.using(using).filter(pk__in=part).delete()
    return changed
