"""The portal's settings with URLs that fail in every way, for the tests of the log."""

from analytics_site.settings import *  # noqa: F403

ROOT_URLCONF = "tests.exploding_urls"
