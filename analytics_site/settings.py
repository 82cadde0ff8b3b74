"""Settings: one file, every variable read once from the environment (or from `.env` beside manage.py).

docs/reference/settings.md has the table of variables; a test compares it with what is read here.
"""

from pathlib import Path
from urllib.parse import urlsplit

from csp.constants import NONE, SELF

from analytics_site import limits, logs
from analytics_site.environment import Environment
from sync.core import conf

BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment(BASE_DIR / ".env")  # the environment's own values win

# Data of a trial: the SQLite file, the cache, pictures, collected static files, and the bundled MongoDB's.
VAR_DIR = env.path("VAR_DIR", str(BASE_DIR / "var"), create=True)

# --- the site -----------------------------------------------------------------------------------------------------
DEBUG = env.bool("DEBUG", False)
SECRET_KEY = env.str("SECRET_KEY", "")
if not env.is_set("SECRET_KEY"):
    env.mistakes.append("Set SECRET_KEY (script/bootstrap writes one into .env for a trial).")
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
ALLOWED_HOSTS = env.list(
    "ALLOWED_HOSTS", default=["localhost", "127.0.0.1"] if DEBUG else [],
    like=r"\*|\.?[\w.-]+|\[[\da-fA-F:.]+\]",
    expected="it must be host names without https:// and port, separated by commas",
)  # fmt: skip
CSRF_TRUSTED_ORIGINS = env.list(
    "CSRF_TRUSTED_ORIGINS", default=[],
    like=r"https?://[^/\s]+", expected="it must be addresses such as https://portal.example.com, separated by commas",
)  # fmt: skip
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", 0, most=20)
HTTPS = env.bool("HTTPS", not DEBUG)
# On every page, in every email, and in authenticator apps, whose format has no colon in a name.
PORTAL_NAME = env.str(
    "PORTAL_NAME", "Analytics Portal",
    like=r"\w[\w .,&'+-]{0,63}", expected="it must be up to 64 letters, digits, spaces and . , & ' + -",
)  # fmt: skip
# The portal's public URL: every absolute link starts with it, whatever host and port a request names.
PORTAL_ORIGIN = env.str(
    "PORTAL_ORIGIN", "",
    like=r"https?://[\w.-]+(:\d+)?",
    expected="it must be an address without a path, such as https://portal.example.com",
)  # fmt: skip
if HTTPS and ALLOWED_HOSTS and not PORTAL_ORIGIN:
    PORTAL_ORIGIN = f"https://{ALLOWED_HOSTS[0]}"
    if ALLOWED_HOSTS[0][0] in "*.":
        env.mistakes.append("Set PORTAL_ORIGIN: ALLOWED_HOSTS starts with a pattern, so links have no host.")
if PORTAL_ORIGIN:
    ALLOWED_HOSTS = [*ALLOWED_HOSTS, urlsplit(PORTAL_ORIGIN).hostname or ""]

INSTALLED_APPS = [
    "accounts",
    "finance",
    "sync",
    "audit",
    "analytics_site",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",  # for `clearsessions`; the sessions themselves are in accounts.sessions
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "crispy_forms",
    "crispy_bootstrap5",
    "django_filters",
    "django_tables2",
]
_examples = sorted(folder.parent.name for folder in (BASE_DIR / "examples").glob("*/models.py"))
EXAMPLES = env.list(
    "EXAMPLES", default=[],
    like="|".join(_examples), expected=f"it must be some of {', '.join(_examples)}, separated by commas",
)  # fmt: skip
INSTALLED_APPS += [f"examples.{name}" for name in EXAMPLES]

MIDDLEWARE = [
    "analytics_site.logs.RequestIDMiddleware",
    "analytics_site.headers.HeadersMiddleware",
    "analytics_site.origin.OriginMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "analytics_site.preferences.PreferencesMiddleware",
    "accounts.middleware.SessionLimitsMiddleware",
    "accounts.middleware.SecondFactorMiddleware",
    "accounts.middleware.ExportLimitMiddleware",
]

ROOT_URLCONF = "analytics_site.urls"
WSGI_APPLICATION = "analytics_site.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
CRISPY_ALLOWED_TEMPLATE_PACKS = "bootstrap5"
CRISPY_TEMPLATE_PACK = "bootstrap5"
DJANGO_TABLES2_TEMPLATE = "django_tables2/bootstrap5-responsive.html"

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("ms", "Bahasa Melayu")]
LOCALE_PATHS = [BASE_DIR / "locale"]
FORMAT_MODULE_PATH = "analytics_site.formats"
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
TIME_ZONE = "UTC"
USE_TZ = True

# --- MySQL (or, for a trial, SQLite) --------------------------------------------------------------------------------
DATABASES = {"default": env.db_url("DATABASE_URL", default=f"sqlite:///{VAR_DIR / 'db.sqlite3'}")}
_database = DATABASES["default"]
if _database["ENGINE"] == "django.db.backends.mysql":
    _database["CONN_MAX_AGE"] = env.int("CONN_MAX_AGE", 60, most=86400)
    _database["CONN_HEALTH_CHECKS"] = True
    _database["OPTIONS"] = {
        "charset": "utf8mb4",
        "isolation_level": "read committed",
        "connect_timeout": 5,
        "init_command": "SET sql_mode='STRICT_TRANS_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO'",
    } | _database["OPTIONS"]
elif _database["ENGINE"] == "django.db.backends.sqlite3":
    # Several processes share the file (web, relay, commands): writers queue instead of failing.
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- MongoDB and the mirror: sync/core/conf.py has the defaults and meanings ----------------------------------------
MONGODB = r"mongodb(\+srv)?://[^/\s]+(/\S*)?"
MONGODB_URI = env.str(
    "MONGODB_URI", "mongodb://127.0.0.1:27117/analytics?replicaSet=rs0",
    like=MONGODB, expected="it must be mongodb://user:password@host:port/database?replicaSet=name",
)  # fmt: skip
SYNC_INLINE = env.bool("SYNC_INLINE", conf.DEFAULTS["INLINE"])
SYNC_INLINE_TIMEOUT = env.float("SYNC_INLINE_TIMEOUT", conf.DEFAULTS["INLINE_TIMEOUT"], least=0.001)
SYNC_INLINE_MAX_KEYS = env.int("SYNC_INLINE_MAX_KEYS", conf.DEFAULTS["INLINE_MAX_KEYS"], least=1, most=100_000)
SYNC_CONFIRM = env.float("SYNC_CONFIRM", conf.DEFAULTS["CONFIRM"], least=0.001)
SYNC_TARGETS = env.json(
    "SYNC_TARGETS", conf.DEFAULTS["TARGETS"], like=MONGODB,
    expected='it must be a JSON object such as {"eu": "mongodb://host:port/database"}',
)  # fmt: skip
SYNC_BREAKER_RESET = env.float("SYNC_BREAKER_RESET", conf.DEFAULTS["BREAKER_RESET"])
SYNC_TIMEOUT = env.float("SYNC_TIMEOUT", conf.DEFAULTS["TIMEOUT"], least=0.001)
SYNC_LEASE = env.float("SYNC_LEASE", conf.DEFAULTS["LEASE"], least=0.001)
SYNC_SETTLE = env.float("SYNC_SETTLE", conf.DEFAULTS["SETTLE"], least=0.001)
SYNC_BATCH = env.int("SYNC_BATCH", conf.DEFAULTS["BATCH"], least=1, most=100_000)
SYNC_FOLLOW_BINLOG = env.bool("SYNC_FOLLOW_BINLOG", conf.DEFAULTS["FOLLOW_BINLOG"])
SYNC_VERIFY_EVERY = env.float("SYNC_VERIFY_EVERY", conf.DEFAULTS["VERIFY_EVERY"], most=366 * 86400)
SYNC_MAX_ATTEMPTS = env.int("SYNC_MAX_ATTEMPTS", conf.DEFAULTS["MAX_ATTEMPTS"], least=1, most=1000)
SYNC_FILES = env.str("SYNC_FILES", conf.DEFAULTS["FILES"])
SYNC_KAFKA = env.json("SYNC_KAFKA", conf.DEFAULTS["KAFKA"])
SYNC_KAFKA_PREFIX = env.str(
    "SYNC_KAFKA_PREFIX",
    conf.DEFAULTS["KAFKA_PREFIX"],
    like=r"[A-Za-z0-9._-]{1,100}",
    expected="it must be letters, digits, '.', '_', '-'",
)
SYNC_KAFKA_PARTITIONS = env.int("SYNC_KAFKA_PARTITIONS", conf.DEFAULTS["KAFKA_PARTITIONS"], least=1, most=10_000)
SYNC_METRICS_TOKEN = env.str("SYNC_METRICS_TOKEN", conf.DEFAULTS["METRICS_TOKEN"])
SYNC_ALERT_EMAILS = env.list(
    "SYNC_ALERT_EMAILS", default=conf.DEFAULTS["ALERT_EMAILS"],
    like=r"[^<>@\s]+@[^<>@\s]+", expected="it must be email addresses, separated by commas",
)  # fmt: skip
SYNC_ALERT_WEBHOOK = env.str(
    "SYNC_ALERT_WEBHOOK", conf.DEFAULTS["ALERT_WEBHOOK"],
    like=r"https?://[\w.-]+(:\d+)?(/[!-~]*)?", expected="it must be an address such as https://chat.example.com/hook",
)  # fmt: skip
SYNC_ALERT_WEBHOOK_SECRET = env.str("SYNC_ALERT_WEBHOOK_SECRET", conf.DEFAULTS["ALERT_WEBHOOK_SECRET"])
SYNC_ALERT_AFTER = env.float("SYNC_ALERT_AFTER", conf.DEFAULTS["ALERT_AFTER"], least=0.001)
SYNC_ALERT_LAG = env.float("SYNC_ALERT_LAG", conf.DEFAULTS["ALERT_LAG"], least=0.001)

# --- the audit log: how long `audit_prune` keeps an entry; 0 keeps all ----------------------------------------------
# The currency of all prices. The records do not name one.
CURRENCY = env.str(
    "CURRENCY", "USD" if DEBUG else "", like="[A-Z]{3}", expected="it must be a currency's code, such as EUR"
)
AUDIT_DAYS = env.int("AUDIT_DAYS", 730, most=36_500)

# --- the cache: shared by all workers, because the rate limits are counted in it --------------------------------
CACHES = {"default": env.cache_url("CACHE_URL", default=f"filecache://{VAR_DIR / 'cache'}")}

if CACHES["default"]["BACKEND"].endswith("FileBasedCache"):
    # Django's own does not count exactly: two processes can add the same key.
    CACHES["default"]["BACKEND"] = "analytics_site.cache.FileCache"
    # A full cache drops entries; with Django's default of 300, many requests could remove the limits' counters.
    CACHES["default"].setdefault("OPTIONS", {})["MAX_ENTRIES"] = 20_000

# --- static and media -----------------------------------------------------------------------------------------------
STATIC_URL = "static/"
STATIC_ROOT = env.path("STATIC_ROOT", default=str(VAR_DIR / "static"))
STATICFILES_DIRS = [BASE_DIR / "static"]
MEDIA_URL = "media/"
MEDIA_ROOT = env.path("MEDIA_ROOT", default=str(VAR_DIR / "media"))
FILE_UPLOAD_HANDLERS = [
    "accounts.pictures.UploadLimit",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

# --- people ---------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.backends.RoleBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "dashboard"
LOGOUT_REDIRECT_URL = "landing"

# What a role may do, and its first page. The apps check permissions and never a role.
ROLE_PERMISSIONS = {
    "customer": ["finance.view_own"],
    "technical_worker": [
        "finance.view_all", "finance.edit_records", "sync.view_console", "sync.view_record", "sync.operate",
        "retail.view_sale",
    ],
    "senior_management": [
        "finance.view_all", "finance.view_totals", "sync.view_record", "audit.view_entry", "retail.view_sale",
    ],
}  # fmt: skip
ROLE_DASHBOARDS = {
    "customer": "finance:customer_dashboard",
    "technical_worker": "sync:console",
    "senior_management": "finance:totals_dashboard",
}

# allauth: https://docs.allauth.org/en/latest/account/configuration.html. It counts the rate limits in the cache, and
# responds the same for known and unknown users.
ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_FORMS = {
    "login": "accounts.forms.LoginForm",
    "signup": "accounts.forms.RegistrationForm",
    "add_email": "accounts.forms.AddEmailForm",
    "reset_password": "accounts.forms.ResetPasswordForm",
}
# Changes of addresses, password or second factor require that the user confirmed the password (or second factor)
# recently.
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300  # seconds
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*", "password2*"]
ACCOUNT_USER_DISPLAY = "accounts.models.display_name"
ACCOUNT_RATE_LIMITS = limits.rates()
ACCOUNT_MAX_EMAIL_ADDRESSES = 3
ACCOUNT_EMAIL_CONFIRMATION_AUTHENTICATED_REDIRECT_URL = "/email/"
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if HTTPS else "http"
ALLAUTH_TRUSTED_PROXY_COUNT = TRUSTED_PROXIES
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_WEBAUTHN_USER_VERIFICATION = "required"  # a passkey replaces the password, so its device must know its owner
MFA_FORMS = {
    "add_webauthn": "accounts.passkeys.AddPasskeyForm",
    "authenticate_webauthn": "accounts.passkeys.AuthenticatePasskeyForm",
    "edit_webauthn": "accounts.passkeys.RenamePasskeyForm",
    "login_webauthn": "accounts.passkeys.LoginPasskeyForm",
    "reauthenticate_webauthn": "accounts.passkeys.ReauthenticatePasskeyForm",
}
MFA_RATE_LIMITS = ACCOUNT_RATE_LIMITS
MFA_TOTP_ISSUER = PORTAL_NAME
MFA_TOTP_TOLERANCE = 1
MFA_ADAPTER = "accounts.adapter.SecondFactorAdapter"
REQUIRE_MFA = env.list(
    "REQUIRE_MFA", [] if DEBUG else ["staff", "technical_worker", "senior_management"],
    like="none|staff|customer|technical_worker|senior_management",
    expected="it must be roles (customer, technical_worker, senior_management) and staff, separated by commas, or none",
)  # fmt: skip
# Keys for secrets of second factors are derived from these: the first encrypts, all decrypt.
ENCRYPTION_KEYS = env.list(
    "ENCRYPTION_KEYS",
    default=[],
    like=r"\S{32,}",
    expected="it must be texts of at least 32 characters, separated by commas",
)

# --- security -------------------------------------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}
# Our indexes enforce what allauth's conditional constraints express where a database cannot: accounts.uniqueness, which
# has a check of its own.
SILENCED_SYSTEM_CHECKS = ["models.W036"]
DEFAULT_EXCEPTION_REPORTER_FILTER = "analytics_site.errors.SecretsFilter"
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_ENGINE = "accounts.sessions"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_IDLE = env.int("SESSION_IDLE", 2 * 3600, least=1, most=366 * 86400)
SESSION_LONGEST = env.int("SESSION_LONGEST", 12 * 3600, least=1, most=366 * 86400)
if SESSION_IDLE > SESSION_LONGEST:
    if env.is_set("SESSION_IDLE"):
        env.mistake("SESSION_IDLE", f"it must not be longer than SESSION_LONGEST, {SESSION_LONGEST}")
    else:
        env.mistake("SESSION_LONGEST", f"it must not be shorter than SESSION_IDLE, whose default is {SESSION_IDLE}")
SESSION_COOKIE_AGE = SESSION_LONGEST  # "remember me"; without it the session ends with the browser
UNATTENDED_VIEWS = {"sync:live"}  # requests of a page left open do not keep its session alive
CSRF_COOKIE_HTTPONLY = True  # forms have the token in a field
if HTTPS:  # browsers accept such cookies only from this host itself, over HTTPS, for all paths
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-sessionid", "__Host-csrftoken"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]  # called from inside, over plain HTTP
if SECURE_SSL_REDIRECT:
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True
    if TRUSTED_PROXIES:
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# --- mail: to the terminal while DEBUG is on, so that a trial needs no server -----------------------------------------
vars().update(env.email_url("EMAIL_URL", default="consolemail://" if DEBUG else "smtp://localhost:25"))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str(
    "DEFAULT_FROM_EMAIL", "portal@localhost",
    like=r"[^<>@\s]+@[^<>@\s]+|[^<>]*<[^<>@\s]+@[^<>@\s]+>",
    expected="it must be an address such as portal@example.com or Portal <portal@example.com>",
)  # fmt: skip
# Whom users without a role or a linked record are told to write to.
SUPPORT_EMAIL = env.str(
    "SUPPORT_EMAIL", "", like=r"[^<>@\s]+@[^<>@\s]+", expected="it must be an address such as help@example.com"
)
# Addresses are verified before the first login if mail is set up; a trial does without.
_mail_is_sent = env.is_set("EMAIL_URL") and "console" not in vars()["EMAIL_BACKEND"]
ACCOUNT_EMAIL_VERIFICATION = "mandatory" if _mail_is_sent else "optional"

# --- the log: to stderr, of the web server and of commands alike ------------------------------------------------------
LOG_FORMAT = env.choice("LOG_FORMAT", "text", among=["text", "json"])
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", among=["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])
LOGGING_CONFIG = "analytics_site.logs.configure"
LOGGING = logs.config(LOG_FORMAT, LOG_LEVEL)

# --- error reports and traces: analytics_site/telemetry.py ------------------------------------------------------------
SENTRY_DSN = env.str(
    "SENTRY_DSN", "", needs=["sentry_sdk"],
    like=r"https?://[\w:]+@[\w.-]+(:\d+)?/[\w/]+",
    expected="it must be an address such as https://key@sentry.example.com/1",
)  # fmt: skip
OTEL_EXPORTER_OTLP_ENDPOINT = env.str(
    "OTEL_EXPORTER_OTLP_ENDPOINT", "",
    needs=["opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http", "opentelemetry.instrumentation.django"],
    like=r"https?://[\w.-]+(:\d+)?(/[\w/-]*)?", expected="it must be an address such as http://collector:4318",
)  # fmt: skip
UNKNOWN_VARIABLES = env.unknown("SYNC_")

env.require_valid()
