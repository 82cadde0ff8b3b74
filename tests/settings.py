"""The portal's settings, and the models that only tests use."""

from analytics_site.settings import *  # noqa: F403
from analytics_site.settings import DATABASES, INSTALLED_APPS, STORAGES

INSTALLED_APPS = [*INSTALLED_APPS, "sync.tests.zoo"]
if "mysql" in DATABASES["default"]["ENGINE"]:
    DATABASES["default"]["TEST"] = {"CHARSET": "utf8mb4"}
elif DATABASES["default"]["NAME"] != ":memory:":
    # A file, as in a trial: one in memory would not be the one that a relay of its own process sees.
    DATABASES["default"]["TEST"] = {"NAME": f"{DATABASES['default']['NAME']}.test"}
# Pages name the browser files as they are in the tree: there is no collectstatic before a test.
STORAGES = STORAGES | {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
# pytest has hooks of its own for errors that nothing catches.
LOGGING_CONFIG = "logging.config.dictConfig"
# The real one is slow on purpose.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
