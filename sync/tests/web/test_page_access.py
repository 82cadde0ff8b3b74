"""The permissions of the mirror's pages; GET and HEAD change nothing."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pymongo.database import Database

from audit.models import Entry
from finance.models import Account
from sync.jobs.models import Job
from sync.outbox.models import Change
from sync.tests.support.people import OPERATOR, VIEWER, user
from sync.web.urls import urlpatterns
from sync.workers.models import Checkpoint, ModelState

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "5ca4bbc7a2dd94ee58162391"
LABEL = "finance.account"
ROUTE = "copy:127.0.0.1:27017/backup.sales"
#         arguments | get: no permission, record only, viewer, operator | post: the same
TABLE: dict[str, tuple[list[Any], tuple[int, ...], tuple[int, ...]]] = {
    "console": ([], (403, 403, 200, 200), (405, 405, 405, 405)),
    "live": ([], (403, 403, 200, 200), (405, 405, 405, 405)),
    "alerts": ([], (403, 403, 200, 200), (405, 405, 405, 405)),
    "test_alert": ([], (405, 405, 405, 405), (403, 403, 403, 302)),
    "changes": ([], (403, 403, 200, 200), (405, 405, 405, 405)),
    "order": ([], (405, 405, 405, 405), (403, 403, 403, 302)),
    "act": ([LABEL, "verify"], (403, 403, 403, 200), (403, 403, 403, 302)),
    "repair": ([LABEL], (403, 403, 403, 200), (403, 403, 403, 302)),
    "route_act": ([ROUTE, "pause"], (405, 405, 405, 405), (403, 403, 403, 302)),
    "stop": ([1], (405, 405, 405, 405), (403, 403, 403, 302)),
    "record": ([LABEL, KEY], (403, 200, 200, 200), (403, 403, 403, 302)),
}
PEOPLE = ((), ("view_record",), VIEWER, OPERATOR)


def test_the_table_names_every_page() -> None:
    assert set(TABLE) == {pattern.name for pattern in urlpatterns}


def state() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in (Change, ModelState, Checkpoint, Job, Entry)]


@pytest.mark.parametrize("name", TABLE)
def test_each_page_needs_the_permission_of_the_table(client: Client, mongo: Database, name: str) -> None:
    Account.objects.create(id=KEY, account_id=1, limit=1)
    Job.objects.create(pk=1, model=LABEL, kind="verify")
    Checkpoint.objects.create(name=ROUTE)
    arguments, gets, posts = TABLE[name]
    address = reverse(f"sync:{name}", args=arguments)
    for method, refused in ((client.get, gets[0] == 405), (client.post, posts[0] == 405)):
        response = method(address)
        assert response.status_code == (405 if refused else 302)
        assert refused or response["Location"].startswith("/login/?next=/sync/")
    people = [user(f"p{number}", *permissions) for number, permissions in enumerate(PEOPLE)]
    before = state()
    for person, status in zip(people, gets, strict=True):
        client.force_login(person)
        assert client.get(address).status_code == status, person
        assert client.head(address).status_code == status, person
    assert state() == before, "GET and HEAD change nothing"
    for person, status in zip(people, posts, strict=True):
        client.force_login(person)
        assert client.post(address).status_code == status, person
        assert status == 302 or state() == before


@pytest.mark.parametrize("name", [name for name in TABLE if TABLE[name][2][3] == 302])
def test_an_action_without_the_csrf_token_is_rejected(name: str, mongo: Database) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user("operator", *OPERATOR))
    Account.objects.create(id=KEY, account_id=1, limit=1)
    Checkpoint.objects.create(name=ROUTE)
    before = state()
    assert client.post(reverse(f"sync:{name}", args=TABLE[name][0])).status_code == 403
    assert state() == before


@pytest.mark.parametrize(
    "path",
    [
        f"record/auth.user/{KEY}/", "record/accounts.user/1/", f"record/finance.nothing/{KEY}/",
        f"record/nothing/{KEY}/", f"record/{LABEL}/{'0' * 24}/", f"record/{LABEL}/$where/",
        f"record/{LABEL}/1/", f"record/{LABEL}/%00/",
        f"record/finance.customer/{KEY}/", f"record/{LABEL}/{{'$ne': 1}}/",
        "targets/accounts.user/pause/", "targets/nothing/pause/", f"targets/{LABEL}/drop/", f"targets/{LABEL}@x/pause/",
        "targets/a.b.c/pause/",
    ],
)  # fmt: skip
def test_models_and_keys_that_are_not_mirrored_get_404(client: Client, mongo: Database, path: str) -> None:
    Account.objects.create(id=KEY, account_id=1, limit=1)
    client.force_login(user("operator", *OPERATOR))
    assert client.get(f"/sync/{path}").status_code == 404
    assert client.post(f"/sync/{path}").status_code == 404


@pytest.mark.parametrize("path", ["pull:nothing/pause", f"{ROUTE}/drop", f"{LABEL}/pause", "pull:%00/pause"])
def test_unknown_routes_get_404(client: Client, mongo: Database, path: str) -> None:
    Checkpoint.objects.create(name=ROUTE)
    client.force_login(user("operator", *OPERATOR))
    assert client.post(f"/sync/routes/{path}/").status_code == 404
    assert list(Checkpoint.objects.values_list("name", "paused")) == [(ROUTE, False)]


def test_an_expired_session_reloads_the_page_instead_of_inserting_the_login(client: Client) -> None:
    response = client.get("/sync/live/", headers={"HX-Request": "true"})
    assert (response.status_code, response["HX-Refresh"], response.content) == (200, "true", b"")
