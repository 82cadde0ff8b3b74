"""Copies for the tests: `sync copy` in this process or one of its own, and both sides read directly."""

import os
import subprocess
import sys
import time
from io import StringIO

import bson
from bson.raw_bson import RawBSONDocument
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from pymongo.collection import Collection

from tests.servers import SERVERS

SOURCE, COPY = "copy_source", "copy_destination"
RAW = bson.CodecOptions(document_class=RawBSONDocument)


def address(*path: str) -> str:
    return f"mongodb://127.0.0.1:{SERVERS.mongo.port}/{'/'.join(path)}?replicaSet=rs0"


def copy(*arguments: str) -> str:
    out = StringIO()
    if not any(argument.startswith("mongodb") for argument in arguments):
        arguments = (address(SOURCE, "things"), address(COPY, "things"), *arguments)
    call_command("sync", "copy", *arguments, stdout=out)
    return out.getvalue()


def status_of(*arguments: str) -> int:
    try:
        copy(*arguments)
    except CommandError as error:
        return error.returncode
    except SystemExit as error:
        return int(error.code or 0)
    return 0


def contents(collection: Collection) -> list[bytes]:
    return [bytes(document.raw) for document in collection.with_options(codec_options=RAW).find(sort=[("_id", 1)])]


def start_copy(*arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "django", "sync", "copy", *arguments]
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    return subprocess.Popen(command, cwd=django_settings.BASE_DIR, env=environment)


def wait_until_equal(source: Collection, copied: Collection) -> None:
    end = time.monotonic() + 90
    while contents(source) != contents(copied) and time.monotonic() < end:
        time.sleep(0.2)
    assert contents(copied) == contents(source)
