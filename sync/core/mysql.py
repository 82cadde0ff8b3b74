"""Errors of MySQL and MariaDB explained in one line, and TLS that is never dropped silently."""

from __future__ import annotations

import os
import re
import ssl
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, IntegrityError, InterfaceError, OperationalError
from django.db import Error as DatabaseError

TLS_FAILED = 2026
TLS_FILES = {"ca": "ssl_ca", "cert": "ssl_cert", "key": "ssl_key"}  # in OPTIONS["ssl"] and in DATABASE_URL
ENCRYPTED = {"REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"}  # the values of ssl_mode that allow no unencrypted connection

# Error numbers of both servers and of the client libraries for which no statement or row is to blame: the cause, and
# what to check. {0} is the server's own text.
CAUSES: dict[tuple[int, ...], str] = {
    (1045, 1698): "MySQL rejects the login ({0}): check user and password, and whether the account requires TLS or a "
    "client's certificate (ssl_mode in DATABASE_URL)",
    (3159, 4151, 2061, 1251, 2059): "MySQL rejects the login ({0}): check the account, and ssl_mode in DATABASE_URL",
    (3118,): "MySQL rejects the login ({0}): the account is locked; unlock it with ALTER USER",
    (1820, 1862): "MySQL requires a new password ({0}): set one with ALTER USER and in DATABASE_URL",
    (1044, 1049, 1142, 1143, 1227, 1370): "MySQL has no such database, or the user has no right to it ({0}): check the "
    "name in DATABASE_URL, and GRANT the right",
    (1129, 1130): "MySQL accepts no connection from this host ({0})",
    (1040, 1203, 1226): "MySQL has too many connections ({0}): close some, or raise the limit",
    (1290, 1792, 1836, 3032): "MySQL accepts no writes ({0}): the server is read-only, or a replica",
    (1021, 3, 1114, 1026, 3958): "MySQL's disk or table is full ({0}): add or free space",
    (1037, 1038, 1041, 1135): "MySQL has no memory left ({0})",
    (1053, 1077, 1079, 1152, 1184, 1927, 2006, 2013, 2014, 2027, 2055, 4031): "MySQL closed the connection ({0}): it "
    "restarts, or the network lost the connection",
    (2002, 2003, 2004, 2012): "MySQL does not respond ({0}): check that it runs, host and port, and firewalls",
    (2005,): "MySQL's host name cannot be resolved ({0}): check DATABASE_URL and DNS",
    (1205, 1213, 1317, 1969, 3024, 1206): "MySQL gave up the statement ({0}): it is busy; try again",
}
BY_NUMBER = {number: line for numbers, line in CAUSES.items() for number in numbers}
DUPLICATE = 1062
OTHER_TABLES = {1054, 1146}
SQLITE = re.compile("locked|readonly database|disk is full|disk I/O error|unable to open", re.IGNORECASE)


def number(error: BaseException) -> int | None:
    """The error's number; None if it has none, as on SQLite."""
    return error.args[0] if error.args and isinstance(error.args[0], int) else None


def is_outage(error: BaseException) -> bool:
    """Whether the server or its settings are to blame, so that the same statement may succeed later."""
    if not isinstance(error, DatabaseError):
        return False
    code = number(error)
    if code is None:
        return isinstance(error, InterfaceError) or bool(SQLITE.search(str(error)))
    return code in BY_NUMBER or code == TLS_FAILED


def is_duplicate(error: BaseException) -> bool:
    """Whether a row was rejected because a unique index has its value already."""
    return isinstance(error, IntegrityError) and (number(error) == DUPLICATE or "UNIQUE constraint" in str(error))


def has_a_reason(error: BaseException) -> bool:
    """Whether the server, the settings or a missing `migrate` is to blame, so that a traceback would not help.

    Drivers give one problem different classes: a missing table is a ProgrammingError on MySQL and an OperationalError
    on SQLite.
    """
    return isinstance(error, (OperationalError, InterfaceError)) or is_outage(error) or number(error) in OTHER_TABLES


def reason(error: BaseException, using: str = DEFAULT_DB_ALIAS) -> str:
    """Why the database failed, in one line: the cause and what to check. For any other error, its own text."""
    if not isinstance(error, DatabaseError):
        return str(error)
    text = str(error.args[-1] if error.args else "").strip().splitlines()
    said = text[0].rstrip(".") if text else type(error).__name__
    code = number(error)
    if code == TLS_FAILED or "[SSL" in said:
        options = settings.DATABASES[using].get("OPTIONS", {})
        why = file_problem(options) or f"{said}; check ssl_mode, ssl_ca, ssl_cert and ssl_key in DATABASE_URL"
        return f"No TLS connection to MySQL: {why}"
    if code in BY_NUMBER:
        return BY_NUMBER[code].format(said)
    if code in OTHER_TABLES or said.startswith(("no such table", "no such column")):
        return f"The database has the tables of another version ({said}): run manage.py migrate"
    return f"The database failed: {said}"


def file_problem(options: dict[str, Any]) -> str:
    """Which of the certificate files in a database's OPTIONS cannot be used, and why; empty if all can."""
    files = options.get("ssl") or {}
    named = ((key, name, files[key]) for key, name in TLS_FILES.items() if files.get(key))
    return next(filter(None, (_problem_of(key, name, path, files) for key, name, path in named)), "")


def _problem_of(key: str, name: str, path: str, files: dict[str, Any]) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        with open(path, "rb"):
            pass
        if key == "ca":
            context.load_verify_locations(path)
        elif key == "cert":
            context.load_cert_chain(path, files.get("key"), password="")
    except ssl.SSLError:
        return f"the file {path} ({name}) does not hold PEM data"
    except OSError as error:
        other = files.get("key", path)
        if key == "cert" and not os.access(other, os.R_OK):
            path, name = other, "ssl_key"
        return f"the file {path} ({name}) cannot be read: {error.strerror}"
    return ""


def tls_context(options: dict[str, Any]) -> ssl.SSLContext | None:
    """For PyMySQL, what a database's OPTIONS tell Django's driver; None lets both sides decide whether to encrypt."""
    mode, files = options.get("ssl_mode", "PREFERRED"), options.get("ssl") or {}
    if mode not in ENCRYPTED:
        return None
    if problem := file_problem(options):
        raise OperationalError(TLS_FAILED, problem)
    context = ssl.create_default_context(cafile=files.get("ca"), capath=files.get("capath"))
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # the certificates that MySQL creates for itself do not pass it
    context.check_hostname = mode == "VERIFY_IDENTITY"
    context.verify_mode = ssl.CERT_NONE if mode == "REQUIRED" else ssl.CERT_REQUIRED
    if "cert" in files:
        context.load_cert_chain(files["cert"], files.get("key"))
    if "cipher" in files:
        context.set_ciphers(files["cipher"])
    return context


def require_tls(connection: Any, **kwargs: Any) -> None:
    """Refuses a new connection that is not encrypted although `ssl_mode` requires it.

    MariaDB's client library continues in plain text if a server has no TLS, unless it has to verify a certificate.
    """
    if connection.vendor == "mysql" and connection.settings_dict["OPTIONS"].get("ssl_mode") in ENCRYPTED:
        with connection.cursor() as cursor:
            cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
            [(_, cipher)] = cursor.fetchall()
        if not cipher:
            connection.close()
            raise OperationalError(TLS_FAILED, "the server has no TLS, but ssl_mode requires it")
