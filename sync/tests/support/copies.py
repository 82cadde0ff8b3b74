"""Runs `sync copy` in this process or in another one, and reads source and copy without the engine."""

from io import StringIO

import bson
from bson.raw_bson import RawBSONDocument
from django.core.management import CommandError, call_command
from pymongo.collection import Collection

from sync.tests.support.processes import Process, manage
from sync.tests.support.waiting import wait_for
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


def copying(*arguments: str) -> Process:
    """`sync copy --follow` in another process."""
    return manage("sync", "copy", *arguments, "--follow")


def wait_until_equal(source: Collection, copied: Collection) -> None:
    wait_for(lambda: contents(source) == contents(copied), "the copy equals the source", 90)
