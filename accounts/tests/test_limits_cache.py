"""The cache behind the rate limits: only one process can add a key, and unsuitable caches are refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from accounts.checks import cache_counts_for_all_processes
from analytics_site.cache import FileCache
from sync.tests.support.processes import script

KEYS, THREADS, PROCESSES = 50, 8, 3


@pytest.fixture
def cache(tmp_path: Path) -> Callable[..., FileCache]:
    return lambda **options: FileCache(str(tmp_path), {"timeout": 60, "OPTIONS": options})


def test_only_one_of_several_processes_adds_a_key(tmp_path: Path) -> None:
    with ExitStack() as stack:
        arguments = (str(tmp_path), str(KEYS), str(THREADS))
        processes = [
            stack.enter_context(script("accounts.tests.scripts.add_keys", *arguments)) for _ in range(PROCESSES)
        ]
        for process in processes:
            process.until_it_says("ready")
        for process in processes:
            process.tell("go")
        assert [process.wait() for process in processes] == [0] * PROCESSES
    assert sum(int(process.stdout.splitlines()[1]) for process in processes) == KEYS


def test_only_one_of_many_threads_replaces_an_expired_entry(cache: Callable[..., FileCache]) -> None:
    found = cache()
    for _ in range(10):
        found.set("key", "old", timeout=0.01)
        time.sleep(0.02)
        with ThreadPoolExecutor(8) as threads:
            assert sum(threads.map(lambda number: bool(found.add("key", number)), range(8))) == 1


def test_reading_an_expired_entry_does_not_delete_its_replacement(
    cache: Callable[..., FileCache], tmp_path: Path
) -> None:
    found = cache()
    found.set("key", "old", timeout=0.01)
    time.sleep(0.02)
    with open(found._key_to_file("key"), "rb") as opened:
        found.add("key", "new")
        assert found._is_expired(opened)
    assert found.get("key") == "new"


def test_expired_entries_do_not_evict_others(cache: Callable[..., FileCache]) -> None:
    found = cache(MAX_ENTRIES=100)
    found.set("counter", 5)
    for number in range(400):
        found.set(f"passer-by-{number}", 1, timeout=0.001)
    assert found.get("counter") == 5
    assert len(found._list_cache_files()) <= 101


def test_the_number_of_entries_stays_near_the_maximum(cache: Callable[..., FileCache]) -> None:
    found = cache(MAX_ENTRIES=100)
    for number in range(400):
        found.set(f"{number}", number)
    assert len(found._list_cache_files()) <= 101
    assert found.get("399") == 399


def check_results(settings: Any, backend: str, location: str = "") -> list[Any]:
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": location}}
    return cache_counts_for_all_processes(None)


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("django.core.cache.backends.dummy.DummyCache", "it stores nothing"),
        ("django.core.cache.backends.locmem.LocMemCache", "each process has its own"),
        ("django.core.cache.backends.db.DatabaseCache", "two processes can add the same key"),
        ("django.core.cache.backends.filebased.FileBasedCache", "it is not known to count exactly"),
    ],
)
def test_a_cache_that_cannot_count_for_all_workers_is_refused(settings: Any, backend: str, reason: str) -> None:
    [error] = check_results(settings, backend)
    assert backend.rpartition(".")[2] in error.msg
    assert reason in error.msg
    assert "Set CACHE_URL to filecache:///folder" in error.hint


@pytest.mark.parametrize(
    "backend",
    ["analytics_site.cache.FileCache", "django.core.cache.backends.redis.RedisCache",
     "django.core.cache.backends.memcached.PyMemcacheCache", "django.core.cache.backends.memcached.PyLibMCCache"],
)  # fmt: skip
def test_a_cache_that_counts_for_all_workers_is_accepted(settings: Any, backend: str, tmp_path: Path) -> None:
    assert check_results(settings, backend, str(tmp_path)) == []
