"""Fixtures for tests of copies: source and destination on the test server, both empty before and after a test."""

from collections.abc import Iterator

import pymongo
import pytest
from pymongo.collection import Collection

from sync.tests.support.copies import COPY, SOURCE
from tests.servers import SERVERS


@pytest.fixture
def client() -> Iterator[pymongo.MongoClient]:
    with pymongo.MongoClient(SERVERS.mongo.uri(""), tz_aware=True) as client:
        for name in (SOURCE, COPY):
            client.drop_database(name)
        yield client
        for name in (SOURCE, COPY):
            client.drop_database(name)


@pytest.fixture
def source(client: pymongo.MongoClient) -> Collection:
    return client[SOURCE]["things"]


@pytest.fixture
def copied(client: pymongo.MongoClient) -> Collection:
    return client[COPY]["things"]
