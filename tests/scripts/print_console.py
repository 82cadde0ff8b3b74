"""Prints pages of the console, for `manage.py shell` of another project."""

from django.contrib.auth.models import User
from django.test import Client

browser = Client(headers={"host": "localhost"})
browser.force_login(User.objects.create_superuser("ada"))
for address in ("/sync/", "/sync/changes/", "/sync/record/goods.product/1/"):
    answer = browser.get(address)
    assert answer.status_code == 200, (address, answer.status_code)
    print(answer.content.decode())
