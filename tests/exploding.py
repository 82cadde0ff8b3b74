"""The portal's settings, with addresses that fail in every way: for the tests of what the log then has."""

from analytics_site.settings import *  # noqa: F403

ROOT_URLCONF = "tests.exploding_urls"
