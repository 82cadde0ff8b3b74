"""The portal on several hosts, of which one of each kind loses its power while people use it."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pymongo
import pytest
from confluent_kafka import Consumer, TopicPartition
from playwright.sync_api import Error as BrowserError
from playwright.sync_api import Page, sync_playwright

from sync.tests.support.waiting import wait_for
from tests.lab import portal
from tests.lab.network import Network
from tests.lab.portal import BROKERS, DESK, HOSTS, MEMBERS, NAME, PARTITIONS, PASSWORD, TOPIC, USER, WEB, WORKERS, Lab
from tests.servers import SERVERS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(os.environ.get("TEST_DATABASE", "mariadb") != "mariadb", reason="the lab has a MariaDB"),
]
DOWN = 3.0  # seconds for which each host is down
AFTER = 60  # seconds within which everything is delivered


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    folder = SERVERS.place("lab")
    folder.mkdir()
    with Network(f"lab-{os.getpid()}", HOSTS) as network, network.inside(DESK):
        found = Lab(folder, network)
        try:
            found.up()
            yield found
        finally:
            found.stop()


@pytest.fixture
def page(lab: Lab, tmp_path: Path) -> Iterator[Page]:
    """A browser on the desk, in which the superuser has signed in."""
    options = ["--no-sandbox", "--disable-gpu", f"--host-resolver-rules=MAP {NAME} {lab.address(portal.FRONT)}"]
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        found = browser.new_context(ignore_https_errors=True).new_page()
        found.goto(f"{lab.origin}/login/")
        found.fill("[name=login]", USER)
        found.fill("[name=password]", PASSWORD)
        found.get_by_role("main").get_by_role("button", name="Sign in", exact=True).click()
        found.wait_for_url(lambda address: "/login" not in address)
        yield found
        browser.close()


class Reader(threading.Thread):
    """Reads a page again and again, as a monitor does. failures: what did not arrive whole, with status 200."""

    def __init__(self, page: Page, lab: Lab, path: str) -> None:
        super().__init__(name=path, daemon=True)
        cookies = "; ".join(f"{each.get('name')}={each.get('value')}" for each in page.context.cookies())
        to = f"{NAME}:{portal.HTTPS}:{lab.address(portal.FRONT)}"
        self.command = [
            "curl", "--silent", "--show-error", "--insecure", "--max-time", "30", "--cookie", cookies, "--resolve", to,
            "--output", os.devnull, "--write-out", "%{http_code}", f"{lab.origin}{path}",
        ]  # fmt: skip
        self.ended = threading.Event()
        self.answers = 0
        self.failures: list[str] = []

    def run(self) -> None:
        while not self.ended.wait(0.1):
            done = subprocess.run(self.command, capture_output=True, text=True, check=False)
            self.answers += 1
            if done.returncode or done.stdout != "200":
                self.failures.append(f"{self.name}: {done.stdout} {done.stderr}".strip())

    def stop(self) -> None:
        self.ended.set()
        self.join()


def add_account(page: Page, lab: Lab, number: int) -> str:
    """Adds an account in the browser, as a person does who tries again if the page failed; its `_id`.

    A page may fail while the server that was making it loses its power: then the account may exist, or not.
    """
    for _ in range(5):
        with suppress(BrowserError):
            page.goto(f"{lab.origin}/finance/accounts/add/")
            page.fill("[name=account_id]", str(number))
            page.fill("[name=limit]", str(number))
            page.check("[name=products][value=Brokerage]")
            page.get_by_role("main").get_by_role("button", name="Save").click()
            page.wait_for_url(lambda address: not address.endswith("/add/"), timeout=10_000)
            return page.url.rstrip("/").rpartition("/")[2]
        with suppress(BrowserError):
            page.goto(f"{lab.origin}/finance/accounts/?q={number}")
            found = page.get_by_role("main").get_by_role("link", name=str(number), exact=True)
            if found.count():
                return str(found.first.get_attribute("href")).rstrip("/").rpartition("/")[2]
    raise AssertionError(f"account {number} could not be added: {page.content()[:2000]}")


def add_story(lab: Lab, number: int) -> None:
    """Adds a story by SQL, as another program does: it reaches MongoDB and Kafka by the binary log."""
    lab.mysql.sql(
        "INSERT INTO analytics.news_story (href, title, submit_date, id, media, link, status) "
        f"VALUES ('https://example.com/', 'Story', {number}, '{number}', 'news', 'https://example.com/', 'new')"
    )


def published(lab: Lab) -> set[str]:
    """The keys of all messages of the topic that a majority of the brokers has."""
    consumer = Consumer(
        {**lab.kafka, "group.id": "test", "auto.offset.reset": "earliest", "enable.partition.eof": True}
    )
    consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)])
    keys, ended = set(), 0
    while ended < PARTITIONS:
        message = consumer.poll(30)
        assert message, "the brokers do not answer"
        if message.error():
            ended += 1
        elif key := message.key():
            keys.add(key.decode())
    consumer.close()
    return keys


def rows(lab: Lab, table: str, column: str) -> dict[str, str]:
    lines = lab.mysql.sql(f"SELECT _id, `{column}` FROM analytics.{table}").splitlines()
    return dict(line.split("\t") for line in lines)


def stored(lab: Lab, collection: str, name: str) -> dict[str, str]:
    with pymongo.MongoClient[dict[str, Any]](lab.mongodb_uri, readConcernLevel="majority") as client:
        found = client.get_default_database()[collection].find({}, {name: 1})
        return {str(each["_id"]): str(each[name]) for each in found}


def primary(lab: Lab) -> str:
    with pymongo.MongoClient[dict[str, Any]](lab.mongodb_uri) as client:
        client.admin.command("ping")
        assert client.primary
        return next(host for host in MEMBERS if lab.address(host) == client.primary[0])


def test_no_request_and_no_change_is_lost_while_hosts_lose_their_power(lab: Lab, page: Page) -> None:
    readers = [Reader(page, lab, path) for path in ("/healthz", "/profile/", "/finance/accounts/")]
    killed: list[str] = []
    hosts: list[Callable[[], str]] = [lambda: WEB[0], lambda: WORKERS[0], lambda: primary(lab), lambda: BROKERS[1]]

    def fail_in_turn() -> None:
        for host in hosts:
            time.sleep(DOWN)
            killed.append(host())
            lab.kill(killed[-1])
            time.sleep(DOWN)
            lab.start(killed[-1])

    failing = threading.Thread(target=fail_in_turn)
    for thread in (*readers, failing):
        thread.start()
    number, added = 500_000, {}
    while failing.is_alive():
        number += 1
        added[add_account(page, lab, number)] = number
        add_story(lab, number)
    for reader in readers:
        reader.stop()
    print(f"killed {killed}; {sum(reader.answers for reader in readers)} pages read, {len(added)} accounts added")
    assert len(killed) == len(hosts)
    assert [failure for reader in readers for failure in reader.failures] == []

    wait_for(lambda: rows(lab, "news_story", "id") == stored(lab, "stories", "id"), "MongoDB has all stories", AFTER)
    wait_for(lambda: not lab.mysql.sql("SELECT id FROM analytics.sync_change LIMIT 1"), "all is delivered", AFTER)
    accounts = rows(lab, "finance_account", "limit")
    assert {key: accounts[key] for key in added} == {key: str(value) for key, value in added.items()}
    assert stored(lab, "accounts", "limit") == accounts
    assert {key.strip('"') for key in published(lab)} >= set(rows(lab, "news_story", "id"))
    lab.manage("sync", "verify")
