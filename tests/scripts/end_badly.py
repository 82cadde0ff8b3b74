"""Runs into the errors that its arguments name, one after the other."""

import logging
import sys
import threading

import django


def fail() -> float:
    return 1 / 0


class NotDeletable:
    def __del__(self) -> None:
        fail()


def main(kind: str) -> None:
    if kind == "crash":
        fail()
    elif kind == "thread":
        threading.Thread(target=fail, name="t").start()
    elif kind == "destructor":
        NotDeletable()
    else:
        logging.getLogger("sync").log(logging.getLevelNamesMapping()[kind], "hello")


if __name__ == "__main__":
    django.setup()
    for each in sys.argv[1:]:
        main(each)
