"""Reads the variables of settings.py from the environment or `.env`, and collects every mistake in them.

A wrong value never stops the reading: its default is used until `require_valid` reports all mistakes at once.
"""

from __future__ import annotations

import difflib
import io
import json
import math
import os
import re
import sys
import warnings
from builtins import bool as _bool
from builtins import float as _float
from builtins import int as _int
from builtins import list as _list
from builtins import str as _str
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from analytics_site.database_url import mysql_options
from analytics_site.errors import SECRET

T = TypeVar("T")

YES, NO = {"true", "yes", "on", "1", "y", "t", "ok"}, {"false", "no", "off", "0", "n", "f"}
LINE = re.compile(r"""(?:export )?[A-Za-z_][A-Za-z_0-9]*=(?:".*"|'.*'|[^"'].*|)""")
ENGINES = {"django.db.backends.mysql", "django.db.backends.sqlite3"}
CACHE_LIBRARIES = {"RedisCache": "redis", "PyLibMCCache": "pylibmc", "PyMemcacheCache": "pymemcache"}
# Variables that may hold a secret. Each can be given as a file instead: NAME_FILE is its path.
SECRETS = frozenset((
    "SECRET_KEY", "SECRET_KEY_FALLBACKS", "ENCRYPTION_KEYS", "DATABASE_URL", "CACHE_URL", "EMAIL_URL", "MONGODB_URI",
    "SYNC_TARGETS", "SYNC_KAFKA", "SYNC_METRICS_TOKEN", "SYNC_ALERT_WEBHOOK", "SYNC_ALERT_WEBHOOK_SECRET",
))  # fmt: skip
WIDTH = 80  # characters of a wrong value that a message shows


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it is missing
        return False


class Misconfigured(ImproperlyConfigured):
    """The message has one line for each mistake."""

    def end_program(self, status: _int = 2) -> NoReturn:
        """Reports the mistakes and exits, without a traceback."""
        sys.stderr.write(f"{self}\n")
        sys.exit(status)


class _Values(environ.Env):
    """django-environ's parser, which keeps a file's values apart from this process's environment."""

    ENVIRON: Any = {}


class Environment:
    """The variables: one method for each kind, called once for each variable. An empty value counts as unset."""

    def __init__(self, file: Path) -> None:
        self.mistakes: _list[_str] = []
        self.names: set[_str] = set()
        self.values: dict[_str, _str] = {}
        for values in (self._of_file(file), dict(os.environ)):  # the latter win
            self.values |= values
            self.values |= self._of_secret_files(values)

    def _of_file(self, file: Path) -> dict[_str, _str]:
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            self.mistakes.append(f"{file} cannot be read: {why}. Correct or remove it.")
            return {}
        read = []
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            if LINE.fullmatch(line):
                read.append(line)
            else:  # the line may hold a secret, so it is not shown
                self.mistakes.append(f"{file}, line {number} is not NAME=value. Check its name, spaces and quotes.")
        _Values.ENVIRON = {}
        _Values.read_env(io.StringIO("\n".join(read)))
        return dict(_Values.ENVIRON)

    def _of_secret_files(self, values: dict[_str, _str]) -> dict[_str, _str]:
        """The contents of the files that the NAME_FILE variables among these name, without the last line end."""
        found = {}
        for name in sorted(SECRETS):
            self.names.add(variable := f"{name}_FILE")
            path = values.get(variable)
            if not path:
                continue
            if values.get(name):
                self.mistakes.append(f"{name} and {variable} are both set: unset one of them.")
                continue
            try:
                text = Path(path).read_text(encoding="utf-8").removesuffix("\n")
            except (OSError, ValueError):
                self.mistake(variable, "it must be a text file that this program can read")
                continue
            if not text.strip():
                self.mistake(variable, "it must be a file that is not empty")
            found[name] = text
        return found

    def is_set(self, name: _str) -> _bool:
        return _bool(self.values.get(name))

    def require_valid(self) -> None:
        """Raises Misconfigured if any variable had a mistake."""
        if self.mistakes:
            raise Misconfigured("\n".join(self.mistakes))

    def unknown(self, prefix: _str) -> _list[_str]:
        """A sentence for each variable with this prefix that was not read."""
        names = sorted(name for name in self.values if name.startswith(prefix) and name not in self.names)
        return [f"Unknown variable {name}: its value has no effect.{self._guess(name)}" for name in names]

    def _guess(self, name: _str) -> _str:
        close = difflib.get_close_matches(name, self.names, 1)
        return f" Did you mean {close[0]}?" if close else ""

    def mistake(self, name: _str, expected: _str) -> None:
        """Records that the variable's value is wrong. expected: what it should be."""
        self.mistakes.append(f"{name} is {_shown(name, self.values.get(name, ''))}: {expected}.")

    def _read(self, name: _str, default: T, parse: Callable[[_str], T], expected: _str) -> T:
        self.names.add(name)
        text = self.values.get(name, "")
        if not text:
            return default
        try:
            return parse(text)
        except (
            ValueError,
            TypeError,
            KeyError,
            ImportError,
            OverflowError,
            RecursionError,
            OSError,
            ImproperlyConfigured,
            Warning,
        ):
            self.mistake(name, expected)
            return default

    def str(
        self, name: _str, default: _str = "", *, like: _str = "", expected: _str = "", needs: Iterable[_str] = ()
    ) -> _str:
        """like: a regular expression that the whole value matches; expected: the same in words.

        needs: modules of requirements-telemetry.txt that have to be installed if the variable is set.
        """

        def parse(text: _str) -> _str:
            if any(ord(character) < 32 for character in text) or not text.strip():
                raise ValueError
            if like and not re.fullmatch(like, text):
                raise ValueError
            if not all(map(_is_installed, needs)):
                command = "pip install -r requirements-telemetry.txt"
                self.mistakes.append(f"{name} needs packages that are not installed: {command}.")
            return text

        return self._read(name, default, parse, expected or "it must be one line of text")

    def bool(self, name: _str, default: _bool) -> _bool:
        def parse(text: _str) -> _bool:
            if (word := text.strip().lower()) not in YES | NO:
                raise ValueError
            return word in YES

        return self._read(name, default, parse, "it must be True or False")

    def int(self, name: _str, default: _int, *, least: _int = 0, most: _int = 2**31 - 1) -> _int:
        def parse(text: _str) -> _int:
            return _within(_int(text), least, most)

        return self._read(name, default, parse, f"it must be a whole number from {least} to {most}")

    def float(self, name: _str, default: _float, *, least: _float = 0.0, most: _float = 86400.0) -> _float:
        def parse(text: _str) -> _float:
            return _within(_float(text), least, most)

        return self._read(name, default, parse, f"it must be a number from {least:g} to {most:g}")

    def choice(self, name: _str, default: _str, *, among: Iterable[_str]) -> _str:
        """One of the words, in any case, returned as `among` spells it."""
        words = {word.lower(): word for word in among}
        expected = f"it must be one of {', '.join(words.values())}"
        return self._read(name, default, lambda text: words[text.strip().lower()], expected)

    def list(self, name: _str, default: _list[_str], *, like: _str = ".+", expected: _str = "") -> _list[_str]:
        """Separated by commas. like: a regular expression for each item."""

        def parse(text: _str) -> _list[_str]:
            words = [word.strip() for word in text.split(",") if word.strip()]
            if not all(re.fullmatch(like, word) for word in words):
                raise ValueError
            return words

        return self._read(name, default, parse, expected or "it must be a list, separated by commas")

    def json(self, name: _str, default: dict[_str, Any], *, like: _str = "", expected: _str = "") -> dict[_str, Any]:
        """A JSON object of text, numbers and booleans. like: a regular expression for each value; all values become
        text.
        """

        def refuse(text: _str) -> NoReturn:
            raise ValueError(text)

        def parse(text: _str) -> dict[_str, Any]:
            found = json.loads(text, parse_constant=refuse, object_pairs_hook=_without_repeats)
            if not isinstance(found, dict) or not all(isinstance(each, str | _int | _float) for each in found.values()):
                raise ValueError
            if like and not all(isinstance(each, str) and re.fullmatch(like, each) for each in found.values()):
                raise ValueError
            return found

        return self._read(name, default, parse, expected or "it must be a JSON object of text, numbers and booleans")

    def path(self, name: _str, default: _str, *, create: _bool = False) -> Path:
        """A folder. create: creates it and requires that it is writable."""

        def parse(text: _str) -> Path:
            folder = Path(text)
            if create:
                folder.mkdir(parents=True, exist_ok=True)
            existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
            if not existing.is_dir() or (create and not os.access(folder, os.W_OK | os.X_OK)):
                raise ValueError
            return folder

        expected = "it must be a folder that this program can write to"
        if create and not self.is_set(name):  # the default is a folder too, and may not exist yet
            self.values[name] = default
        return self._read(name, Path(default), parse, expected)

    def db_url(self, name: _str, default: _str) -> dict[_str, Any]:
        def parse(text: _str) -> dict[_str, Any]:
            config = _url(environ.Env.db_url_config, text)
            if config.get("ENGINE") not in ENGINES or not config["NAME"]:
                raise ValueError
            if config["ENGINE"].endswith("mysql"):
                try:
                    config["OPTIONS"] = mysql_options(text)
                except ImproperlyConfigured as error:  # which names the option, and not the password
                    self.mistakes.append(str(error))
            return config

        expected = "it must be mysql://user:password@host:port/name or sqlite:///path"
        return self._read(name, parse(default), parse, expected)

    def cache_url(self, name: _str, default: _str) -> dict[_str, Any]:
        def parse(text: _str) -> dict[_str, Any]:
            config = _url(environ.Env.cache_url_config, text)
            if config["LOCATION"] in ("", "unix://") and not text.startswith(("locmem", "dummy")):
                raise ValueError
            import_string(config["BACKEND"])  # the parser knows some that Django has dropped
            library = CACHE_LIBRARIES.get(config["BACKEND"].rpartition(".")[2])
            if library and not find_spec(library):
                self.mistakes.append(f"{name} needs a library that is not installed: pip install {library}.")
            elif library and isinstance(config["LOCATION"], _str):
                _ = urlsplit(text).port  # raises ValueError for an invalid one
            return config

        expected = "it must be an address such as filecache:///folder, rediscache://host:6379/0 or locmemcache://"
        return self._read(name, parse(default), parse, expected)

    def email_url(self, name: _str, default: _str) -> dict[_str, Any]:
        def parse(text: _str) -> dict[_str, Any]:
            config = _url(environ.Env.email_url_config, text)
            if text.startswith("smtp") and not config["EMAIL_HOST"]:
                raise ValueError
            return config

        expected = "it must be an address such as smtp+tls://user:password@host:587 or consolemail://"
        return self._read(name, parse(default), parse, expected)


def _within(number: Any, least: Any, most: Any) -> Any:
    if not (math.isfinite(number) and least <= number <= most):
        raise ValueError
    return number


def _without_repeats(pairs: _list[tuple[_str, Any]]) -> dict[_str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)


def _url(parse: Callable[[_str], dict[_str, Any]], text: _str) -> dict[_str, Any]:
    if not re.match(r"[a-z][a-z0-9+-]*://", text):
        raise ValueError
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the parser warns about unknown parts and ignores them
        return parse(text)


def _shown(name: _str, value: _str) -> _str:
    """The value for a message, without what may be a secret."""
    if SECRET.search(name) or (value.lstrip().startswith("{") and re.search(r"@|://|pass|secret|token", value, re.I)):
        return "wrong (its value is not shown, as it may hold a secret)"
    if "://" in value or "@" in value:
        value = re.sub(r"^([A-Za-z0-9+.-]*:/*)?.*@", r"\1***@", value, flags=re.DOTALL)
        value = value.partition("?")[0]
        if "@" not in value:  # the @ may be missing and the value still hold a password
            value = re.sub(r"(?<=[^/]):(?!/|\d{1,5}(?:[/,]|$)).*", ":***", value, flags=re.DOTALL)
    return repr(value[:WIDTH] + "…" * (len(value) > WIDTH))
