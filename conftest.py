"""Fixtures for every app's tests."""

import gc
import shutil
from collections.abc import Generator, Iterator
from typing import Any
from zlib import crc32

import pymongo
import pytest
from django.core.cache import cache
from django.db import connections
from django.utils import timezone, translation
from playwright.sync_api import BrowserContext, sync_playwright
from pymongo.database import Database
from xdist.scheduler import LoadFileScheduling

from sync.mongodb.breaker import BREAKER
from sync.mongodb.client import clock
from sync.outbox.pauses import PAUSED
from sync.workers.heartbeat import INLINE_HEARTBEAT
from tests import emptying
from tests.kafka import kafka  # noqa: F401  (a fixture)
from tests.servers import SERVERS, MariaDB, Mongo
from tests.slow_part import slow_part

emptying.install()
gc.set_threshold(50_000, 20, 50)  # a fifth of the time of short tests was spent looking for cycles

# Test files that take a minute or more. They run first, so that no worker is still busy with one at the end of the run.
LONG = (
    "test_image.py",
    "test_publish_faults.py", "test_pages_in_browser.py", "test_chaos.py", "test_follow_binlog_faults.py",
    "test_pulling_sales.py", "test_copy.py", "test_consume_positions.py", "test_consume.py", "test_kafka_causes.py",
    "test_server.py", "test_follow_binlog.py", "test_publish.py", "test_follow_binlog_fuzz.py",
    "test_stored_payloads.py", "test_hostile_forms.py",
)  # fmt: skip

WHOLE = ("test_image.py",)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--slow-part",
        metavar="K/N",
        default="0/1",
        help="of the slow tests and of the pages in a browser, run one part",
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """Runs after pytest-django's own sorting, which moves tests that commit to the end."""
    yield
    part, parts = slow_part(config)
    slow = [item for item in items if item.get_closest_marker("slow")]
    rest = [item for item in slow if crc32(_unit(item).encode()) % parts != part]
    if rest:
        config.hook.pytest_deselected(items=rest)
        left_out = set(rest)
        items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


def _unit(item: pytest.Item) -> str:
    """What runs in one part: a test, or a whole file that builds an image first, which takes minutes."""
    return item.path.name if item.path.name in WHOLE else item.nodeid


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Closes broken connections: the previous test may have stopped its server."""
    for connection in connections.all(initialized_only=True):
        if connection.connection and not connection.in_atomic_block and not connection.is_usable():
            connection.close()


def pytest_collection_finish() -> None:
    """Modules and tests live as long as the process, so the garbage collector need not visit them."""
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Leaves this process no row to remove when it exits: its database is gone by then."""
    INLINE_HEARTBEAT.reset()


class ByFileAndBroker(LoadFileScheduling):
    """A file's tests run in one worker, and so do all of Kafka's: one broker, not one for each worker."""

    def _split_scope(self, nodeid: str) -> str:
        return "kafka" if "/kafka/" in nodeid else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return ByFileAndBroker(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(autouse=True)
def _as_new() -> None:
    """Without what other tests left: the rate limits' counters in the cache, and a person's language and zone."""
    cache.clear()
    translation.deactivate()
    timezone.deactivate()


@pytest.fixture
def mongod() -> Iterator[Mongo]:
    """The MongoDB server. A test may kill, freeze and restart it; it runs again after the test."""
    yield SERVERS.mongo
    SERVERS.mongo.thaw()
    if SERVERS.mongo.status is not None:
        SERVERS.mongo.start()


@pytest.fixture
def mariadb() -> MariaDB:
    """The MariaDB server; skips where the tests run on another database."""
    if SERVERS.mariadb is None:
        pytest.skip("this run is not on MariaDB")
    return SERVERS.mariadb


@pytest.fixture
def mongo() -> Iterator[Database]:
    """The MongoDB database, through a separate client; its collections are empty before the test."""
    BREAKER.succeeded()
    PAUSED.forget()
    clock().forget()
    client: pymongo.MongoClient[dict[str, Any]]
    with pymongo.MongoClient(SERVERS.mongo.uri("analytics_test"), tz_aware=True) as client:
        database: Database[dict[str, Any]] = client.get_default_database()
        for name in database.list_collection_names():
            database[name].delete_many({})
        yield database


@pytest.fixture(scope="module")
def context() -> Iterator[BrowserContext]:
    """A headless browser, for tests on `live_server`."""
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright runs an event loop in this thread, and Django would refuse database access from it.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        # Debian's Chromium, or the one that `playwright install chromium` installed.
        program = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_context(color_scheme="light")
        # Code in an event loop has its own connections. They would stay open until the next browser starts, and the
        # database server may have restarted by then.
        connections.close_all()
        browser.close()
