"""Which status each kind of user gets at every address. An address that is missing from the table fails."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from tests.world import KINDS, World, patterns

pytestmark = pytest.mark.django_db

# The status of a GET. Customers request their own record, and another customer's. Staff may use the admin, but have no
# permissions here. Anonymous users are redirected to the login.
TABLE = """
#                                   nobody   own  another's  technical  management  staff  superuser
landing                                200   200          -        200         200    200        200
help                                   200   200          -        200         200    200        200
people                                 302   403          -        403         403    403        200
person                                 302   403          -        403         403    403        200
healthz                                200   200          -        200         200    200        200
readyz                                 200   200          -        200         200    200        200
metrics                                404   404          -        200         404    404        200

dashboard                              302   302          -        302         302    200        200
profile                                302   200          -        200         200    200        200
preferences                            302   200          -        200         200    200        200
language                               405   405          -        405         405    405        405
picture                                302   404          -        404         404    404        404
sessions                               302   200          -        200         200    200        200
end_other_sessions                     302   200          -        200         200    200        200
my_data                                302   200          -        200         200    200        200
my_data_download                       302   200          -        200         200    200        200
delete_account                         302   200          -        200         200    200        200

account_signup                         200   302          -        302         302    302        302
account_login                          200   302          -        302         302    302        302
account_logout                         302   200          -        200         200    200        200
account_inactive                       200   200          -        200         200    200        200
account_reauthenticate                 302   200          -        200         200    200        200
account_email                          302   200          -        200         200    200        200
account_email_verification_sent        200   200          -        200         200    200        200
account_confirm_email                  200   200          -        200         200    200        200
account_undo_address                   410   410          -        410         410    410        410
account_change_password                302   200          -        200         200    200        200
account_set_password                   302   302          -        302         302    302        302
account_reset_password                 200   200          -        200         200    200        200
account_reset_password_done            200   200          -        200         200    200        200
account_reset_password_from_key        200   200          -        200         200    200        200
account_reset_password_from_key_done   200   200          -        200         200    200        200
mfa_index                              302   200          -        200         200    200        200
mfa_authenticate                       302   302          -        302         302    302        302
mfa_reauthenticate                     302   302          -        302         302    302        200
mfa_login_webauthn                     302   302          -        302         302    302        302
mfa_list_webauthn                      302   200          -        200         200    200        200
mfa_add_webauthn                       302   200          -        200         200    200        200
mfa_edit_webauthn                      302   404          -        404         404    404        200
mfa_remove_webauthn                    302   404          -        404         404    404        200
mfa_reauthenticate_webauthn            302   302          -        302         302    302        200
mfa_activate_totp                      302   200          -        200         200    200        302
mfa_deactivate_totp                    302   404          -        404         404    404        200
mfa_view_recovery_codes                302   404          -        404         404    404        200
mfa_generate_recovery_codes            302   200          -        200         200    200        200
mfa_download_recovery_codes            302   404          -        404         404    404        200

finance:customer_dashboard             302   200          -        403         403    403        200
finance:own_trades                     302   200          -        403         403    403        200
finance:customer_trades                302   200        404        200         200    403        200
finance:customer_chart                 302   200        404        200         200    403        200
finance:totals_dashboard               302   403          -        403         200    403        200
finance:totals_chart                   302   403          -        403         200    403        200
finance:totals_trades                  302   403          -        403         200    403        200
finance:totals_trades_export           302   403          -        403         200    403        200
finance:save_view                      405   405          -        405         405    405        405
finance:remove_view                    405   405          -        405         405    405        405
finance:account_list                   302   200          -        200         200    403        200
finance:account_export                 302   200          -        200         200    403        200
finance:account_detail                 302   200        404        200         200    403        200
finance:account_create                 302   403          -        200         403    403        200
finance:account_edit                   302   403        403        200         403    403        200
finance:account_delete                 302   403        403        200         403    403        200
finance:customer_list                  302   200          -        200         200    403        200
finance:customer_export                302   200          -        200         200    403        200
finance:customer_detail                302   200        404        200         200    403        200
finance:customer_create                302   403          -        200         403    403        200
finance:customer_edit                  302   403        403        200         403    403        200
finance:customer_delete                302   403        403        200         403    403        200
finance:transaction_list               302   404          -        200         200    403        200
finance:transaction_export             302   404          -        200         200    403        200
finance:transaction_detail             302   404        404        200         200    403        200
finance:transaction_create             302   403          -        200         403    403        200
finance:transaction_edit               302   403        403        200         403    403        200
finance:transaction_delete             302   403        403        200         403    403        200

sync:console                           302   403          -        200         403    403        200
sync:live                              302   403          -        200         403    403        200
sync:alerts                            302   403          -        200         403    403        200
sync:test_alert                        405   405          -        405         405    405        405
sync:changes                           302   403          -        200         403    403        200
sync:order                             405   405          -        405         405    405        405
sync:act                               302   403          -        200         403    403        200
sync:repair                            302   403          -        200         403    403        200
sync:route_act                         405   405          -        405         405    405        405
sync:stop                              405   405          -        405         405    405        405
sync:record                            302   403          -        200         200    403        200
audit:entries                          302   403          -        403         200    403        200
audit:export                           302   403          -        403         200    403        200
retail:revenue                         302   403          -        200         200    403        200
"""
ROWS = {
    name: statuses for name, *statuses in (line.split() for line in TABLE.splitlines() if line[:1] not in ("", "#"))
}

# The admin's pages follow a rule: users who are not staff are redirected to the portal's login, staff without a
# permission get 403, and superusers 200. The exceptions: (route, users who are not staff, staff, superuser).
ADMIN = [
    (r"admin/password_change/", 302, 302, 302),  # to the portal's own page
    (r"admin/login/", 403, 302, 302),
    (r"admin/logout/", 302, 405, 405),
    (r"admin/(password_change/done/|jsi18n/|)", 302, 200, 200),
    (r"admin/r/<path:content_type_id>/<path:object_id>/", 302, 302, 302),  # to the record's page, which checks again
    (r"admin/.*/<path:object_id>/", 302, 302, 302),  # to .../change/
    (r"admin/mfa/authenticator/add/", 302, 403, 403),  # only its owner can add a second factor
    (r"admin/retail/sale/(add|<path:object_id>/delete)/", 302, 403, 403),  # these rows come from MongoDB
    (r"admin/\^\(\?P<app_label>.*", 302, 404, 200),
    (r"admin/\(\?P<url>.*", 302, 404, 404),
]
ADMIN_RULE = (302, 403, 200)
REFUSED = (302, 403, 404)


def clients_of(made: World) -> list[Client]:
    """The clients, in the order of the table's columns."""
    return [Client(), made.clients["customer"], *(made.clients[kind] for kind in KINDS)]


def test_the_table_lists_every_address_exactly_once() -> None:
    names = [name for name, route, _pattern in patterns() if not route.startswith("admin/")]
    assert sorted(names) == sorted(ROWS)
    assert len(ROWS) == len([line for line in TABLE.splitlines() if line[:1] not in ("", "#")])


@pytest.mark.parametrize("name", ROWS)
def test_each_kind_of_user_gets_the_status_in_the_table(made: World, name: str) -> None:
    clients = clients_of(made)
    addresses = [made.address(name, others=number == 2) for number in range(len(clients))]
    answers = [client.get(address) if address else None for client, address in zip(clients, addresses, strict=True)]
    assert [str(answer.status_code) if answer else "-" for answer in answers] == ROWS[name]
    if answers[0].status_code == 302:
        assert answers[0]["Location"].startswith("/login/") or name == "account_logout"


@pytest.mark.parametrize("name", ROWS)
def test_a_page_that_may_not_be_read_accepts_no_post(made: World, name: str) -> None:
    for number, (client, status) in enumerate(zip(clients_of(made), ROWS[name], strict=True)):
        address = made.address(name, others=number == 2)
        if address and status in ("403", "404"):
            assert client.post(address).status_code in (int(status), 405), number


# Who may post to an address that cannot be read; others get 403.
OPERATORS = {"technical_worker": 302, "superuser": 302}
POSTED = {
    "finance:save_view": {"senior_management": 302, "superuser": 302},
    "finance:remove_view": {"senior_management": 302, "superuser": 404},  # it is the manager's
}


@pytest.mark.parametrize("name", [name for name in ROWS if "405" in ROWS[name] and name != "language"])
def test_post_only_addresses_are_for_those_who_may_act(made: World, name: str) -> None:
    address = made.address(name)
    assert Client().post(address)["Location"].startswith("/login/?next=")
    answers = {kind: client.post(address).status_code for kind, client in made.clients.items()}
    assert answers == dict.fromkeys(KINDS, 403) | POSTED.get(name, OPERATORS)


@pytest.mark.parametrize(("name", "route"), [(name, route) for name, route, _ in patterns() if route[:6] == "admin/"])
def test_admin_pages_follow_the_rule(made: World, name: str, route: str) -> None:
    others, staff, superuser = next((each[1:] for each in ADMIN if re.fullmatch(each[0], route)), ADMIN_RULE)
    address = made.admin_address(name, route)
    nobody = Client().get(address)
    assert nobody.status_code == 302
    assert nobody["Location"].startswith(("/admin/login/?next=", "/login/?next=", "/password/change/", "/admin/"))
    expected = dict.fromkeys(KINDS, others) | {"staff": staff, "superuser": superuser}
    assert {kind: client.get(address).status_code for kind, client in made.clients.items()} == expected
    for kind in ("customer", "technical_worker", "senior_management"):
        assert made.clients[kind].post(address).status_code in REFUSED


def test_each_admin_exception_matches_an_address() -> None:
    routes = [route for _name, route, _pattern in patterns() if route.startswith("admin/")]
    for pattern, *_statuses in ADMIN:
        assert any(re.fullmatch(pattern, route) for route in routes), pattern


def test_staff_without_a_second_factor_reach_only_its_setup(made: World, settings: Any) -> None:
    """Every other page redirects to the setup, even if their role alone would open it."""
    settings.REQUIRE_MFA = ["staff"]
    reached, addresses = set(), made.addresses()
    for name, route, _pattern in patterns():
        answer = made.clients["staff"].get(addresses[route])
        if answer.headers.get("Location") != "/two-factor/":
            reached.add(name)
    assert reached == {
        "account_confirm_email", "account_email", "account_email_verification_sent", "account_logout",
        "account_reauthenticate", "healthz", "mfa_activate_totp", "mfa_add_webauthn", "mfa_index", "readyz",
    }  # fmt: skip
