"""Adds keys to a file cache in many threads, beside other processes that do the same, and prints how often it was the
one. It says when it is ready, and begins with a line of input. Its arguments are the cache's folder, how many keys and
how many threads."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from django.conf import settings


def main(folder: str, keys: int, count: int) -> None:
    from analytics_site.cache import FileCache

    cache = FileCache(folder, {"timeout": 60})
    print("ready", flush=True)
    sys.stdin.readline()
    barrier = threading.Barrier(count)

    def add(thread: int) -> int:
        barrier.wait()
        return sum(bool(cache.add(f"key{number}", thread)) for number in range(keys))

    with ThreadPoolExecutor(count) as threads:
        print(sum(threads.map(add, range(count))))


if __name__ == "__main__":
    settings.configure()
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
