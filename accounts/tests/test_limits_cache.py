"""The cache that counts the limits: what is added is added once, by whichever process; and which caches are refused."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from accounts.checks import cache_counts_for_all_processes
from analytics_site.cache import FileCache
from tests.servers import ROOT

KEYS, THREADS, PROCESSES = 50, 8, 3
# Adds each key in many threads, beside another process that does the same, and prints how often it was the one.
ADD = f"""
import sys, threading
from concurrent.futures import ThreadPoolExecutor
import django.conf
django.conf.settings.configure()
from analytics_site.cache import FileCache
cache = FileCache(sys.argv[1], {{"timeout": 60}})
print("ready", flush=True)
sys.stdin.readline()
barrier = threading.Barrier({THREADS})
def add(thread):
    barrier.wait()
    return sum(bool(cache.add(f"key{{number}}", thread)) for number in range({KEYS}))
with ThreadPoolExecutor({THREADS}) as threads:
    print(sum(threads.map(add, range({THREADS}))))
"""


@pytest.fixture
def cache(tmp_path: Path) -> Callable[..., FileCache]:
    return lambda **options: FileCache(str(tmp_path), {"timeout": 60, "OPTIONS": options})


def test_what_processes_add_at_once_is_added_by_one_of_them(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ADD, str(tmp_path)],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert sum(int(process.communicate(timeout=60)[0]) for process in processes) == KEYS


def test_an_expired_entry_is_added_anew_by_one_of_many(cache: Callable[..., FileCache]) -> None:
    found = cache()
    for _ in range(10):
        found.set("key", "old", timeout=0.01)
        time.sleep(0.02)
        with ThreadPoolExecutor(8) as threads:
            assert sum(threads.map(lambda number: bool(found.add("key", number)), range(8))) == 1


def test_who_reads_an_expired_entry_leaves_what_replaces_it(cache: Callable[..., FileCache], tmp_path: Path) -> None:
    found = cache()
    found.set("key", "old", timeout=0.01)
    time.sleep(0.02)
    with open(found._key_to_file("key"), "rb") as opened:
        found.add("key", "new")
        assert found._is_expired(opened)
    assert found.get("key") == "new"


def test_a_crowd_of_expired_entries_pushes_nothing_out(cache: Callable[..., FileCache]) -> None:
    found = cache(MAX_ENTRIES=100)
    found.set("counter", 5)
    for number in range(400):
        found.set(f"passer-by-{number}", 1, timeout=0.001)
    assert found.get("counter") == 5
    assert len(found._list_cache_files()) <= 101


def test_it_never_holds_many_more_than_it_may(cache: Callable[..., FileCache]) -> None:
    found = cache(MAX_ENTRIES=100)
    for number in range(400):
        found.set(f"{number}", number)
    assert len(found._list_cache_files()) <= 101
    assert found.get("399") == 399


def complaints(settings: Any, backend: str, location: str = "") -> list[Any]:
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
    [complaint] = complaints(settings, backend)
    assert backend.rpartition(".")[2] in complaint.msg
    assert reason in complaint.msg
    assert "Set CACHE_URL to filecache:///folder" in complaint.hint


@pytest.mark.parametrize(
    "backend",
    ["analytics_site.cache.FileCache", "django.core.cache.backends.redis.RedisCache",
     "django.core.cache.backends.memcached.PyMemcacheCache", "django.core.cache.backends.memcached.PyLibMCCache"],
)  # fmt: skip
def test_a_cache_that_counts_for_all_workers_is_accepted(settings: Any, backend: str, tmp_path: Path) -> None:
    assert complaints(settings, backend, str(tmp_path)) == []
