"""What `check --deploy` asks of the settings on behalf of this app."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.memcached import BaseMemcachedCache
from django.core.cache.backends.redis import RedisCache
from django.core.checks import CheckMessage, Error, Tags, register
from django.utils.module_loading import import_string

from analytics_site.cache import FileCache

COUNTING = (FileCache, RedisCache, BaseMemcachedCache)  # whose `add` is atomic for all processes
REASONS = {
    DummyCache: "it stores nothing",
    LocMemCache: "each process has its own, so every worker counts for itself",
    DatabaseCache: "two processes can add the same key to it",
}


@register(Tags.security, deploy=True)
def cache_counts_for_all_processes(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The rate limits are as good as the cache that counts them."""
    backend = import_string(settings.CACHES["default"]["BACKEND"])
    if issubclass(backend, COUNTING):
        return []
    reason = next(
        (why for kind, why in REASONS.items() if issubclass(backend, kind)), "it is not known to count exactly"
    )
    return [
        Error(
            f"The cache of CACHE_URL ({backend.__name__}) cannot count the rate limits: {reason}.",
            hint="Set CACHE_URL to filecache:///folder if all workers run on one machine, or to rediscache://host:6379/0.",
            id="accounts.E001",
        )
    ]
