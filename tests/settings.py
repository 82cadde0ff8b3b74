"""The portal's settings, with the models that only tests use."""

from analytics_site.settings import *  # noqa: F403
from analytics_site.settings import DATABASES, INSTALLED_APPS, STORAGES

INSTALLED_APPS = [*INSTALLED_APPS, "sync.tests.zoo"]
if "mysql" in DATABASES["default"]["ENGINE"]:
    DATABASES["default"]["TEST"] = {"CHARSET": "utf8mb4"}
elif DATABASES["default"]["NAME"] != ":memory:":
    # A file, as in a trial: a relay in another process could not see a database in memory.
    DATABASES["default"]["TEST"] = {"NAME": f"{DATABASES['default']['NAME']}.test"}
# Pages link to the static files in the source tree, because no test runs collectstatic first.
STORAGES = STORAGES | {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
# pytest has its own hooks for uncaught errors.
LOGGING_CONFIG = "logging.config.dictConfig"
# The real hasher is slow on purpose.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
