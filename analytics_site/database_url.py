"""DATABASE_URL's options for MySQL and MariaDB, as the driver expects them."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.core.exceptions import ImproperlyConfigured

MODES = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")
FILES = {"ssl_ca": "ca", "ssl_capath": "capath", "ssl_cert": "cert", "ssl_key": "key", "ssl_cipher": "cipher"}
NUMBERS = {"connect_timeout", "read_timeout", "write_timeout"}
TEXTS = {"charset", "collation", "auth_plugin", "init_command", "sql_mode", "unix_socket", "isolation_level"} | {
    "read_default_file", "read_default_group", "server_public_key_path",
}  # fmt: skip
DJANGOS = {"conn_max_age", "conn_health_checks", "atomic_requests"}  # not the driver's: django-environ handles them


def mysql_options(url: str) -> dict[str, Any]:
    """The OPTIONS of `mysql://...?ssl_ca=/path&ssl_mode=VERIFY_IDENTITY`. Raises ImproperlyConfigured, naming the
    option.

    A CA without a mode means VERIFY_CA, as for MySQL's own programs: a given certificate is to be verified.
    """
    options: dict[str, Any] = {}
    tls: dict[str, str] = {}
    for given, value in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        name = given.lower().replace("-", "_")
        if not value:
            raise ImproperlyConfigured(f"DATABASE_URL: the option {given} has no value.")
        if name in FILES:
            tls[FILES[name]] = value
        elif name == "ssl_mode":
            if value.upper() not in MODES:
                raise ImproperlyConfigured(f"DATABASE_URL: ssl_mode={value} is not one of {', '.join(MODES)}.")
            options["ssl_mode"] = value.upper()
        elif name in NUMBERS:
            if not re.fullmatch(r"[0-9]{1,6}", value):
                raise ImproperlyConfigured(f"DATABASE_URL: {given}={value} is not a number of seconds below a million.")
            options[name] = int(value)
        elif name == "charset" and value.lower() != "utf8mb4":
            raise ImproperlyConfigured(
                f"DATABASE_URL: charset={value} would alter characters that it lacks when rows are read. Remove it."
            )
        elif name in TEXTS:
            options[name] = value
        elif name not in DJANGOS:
            known = ", ".join(sorted({"ssl_mode", *FILES, *NUMBERS, *TEXTS}))
            hint = " (use ssl_mode)" if "ssl" in name else ""
            raise ImproperlyConfigured(f"DATABASE_URL: unknown option {given}{hint}. Known options: {known}.")
    if "key" in tls and "cert" not in tls:
        raise ImproperlyConfigured("DATABASE_URL: ssl_key needs ssl_cert, the certificate that belongs to it.")
    if tls and options.get("ssl_mode") == "DISABLED":
        raise ImproperlyConfigured("DATABASE_URL: ssl_mode=DISABLED contradicts the other ssl_ options.")
    if tls:
        options["ssl"] = tls
        options.setdefault("ssl_mode", "VERIFY_CA" if tls.keys() & {"ca", "capath"} else "REQUIRED")
    return options
