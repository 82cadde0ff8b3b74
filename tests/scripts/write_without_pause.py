"""Adds, changes and deletes accounts until it is killed, as many users of a portal do."""

import random

import django

django.setup()

from django.db import Error  # noqa: E402  (Django is set up first)

from finance.models import Account  # noqa: E402

chance = random.Random(1)
added: list[str] = []
number = 10**6
while True:
    number += 1
    try:
        if chance.random() < 0.4:
            added.append(Account.objects.create(account_id=number, limit=number, products=["Brokerage"]).pk)
        elif added and chance.random() < 0.3:
            Account.objects.filter(pk=added.pop(chance.randrange(len(added)))).delete()
        else:
            account = Account.objects.order_by("?").first()
            if account is not None:
                account.limit = number
                account.save()
    except Error:  # the server is gone, as the drill wants it
        break
