"""Adds keys to a file cache in many threads while other processes do the same. Prints how many keys it added first.

Prints "ready" and starts when it receives a line of input. Arguments: cache folder, number of keys, number of threads.
"""

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
