"""This app's checks of the settings for `check --deploy`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.memcached import BaseMemcachedCache
from django.core.cache.backends.redis import RedisCache
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.utils.module_loading import import_string

COUNTING = (RedisCache, BaseMemcachedCache)  # whose `add` is atomic for all processes; others declare it by `is_atomic`
REASONS = {
    DummyCache: "it stores nothing",
    LocMemCache: "each process has its own, so every worker counts separately",
    DatabaseCache: "two processes can add the same key to it",
}


@register(Tags.security, deploy=True)
def cache_counts_for_all_processes(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The rate limits are only as reliable as the cache that counts them."""
    backend = import_string(settings.CACHES["default"]["BACKEND"])
    if issubclass(backend, COUNTING) or getattr(backend, "is_atomic", False):
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


@register(Tags.security, deploy=True)
def what_is_open(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Settings that are too open, but accepted by Django's own checks."""
    found: list[CheckMessage] = []
    if "*" in settings.ALLOWED_HOSTS:
        found.append(
            Error(
                "ALLOWED_HOSTS accepts any host.",
                hint="List the host names of the portal.",
                id="accounts.E002",
            )
        )
    if "staff" not in settings.REQUIRE_MFA:
        found.append(
            Warning(
                "Staff and superusers do not need a second factor.",
                hint="Leave REQUIRE_MFA unset, or add staff to it.",
                id="accounts.W002",
            )
        )
    if settings.EMAIL_BACKEND.rpartition(".")[0].rpartition(".")[2] in ("console", "dummy", "locmem", "filebased"):
        found.append(
            Warning(
                "Emails are not sent, so no user can confirm an address or reset a password.",
                hint="Set EMAIL_URL, such as smtp+tls://user:password@mail.example.com:587.",
                id="accounts.W003",
            )
        )
    return found
