"""Types of arguments that several subcommands have."""

import argparse
from typing import Any


def positive(kind: type) -> Any:
    """Return an argparse type for numbers of `kind` above zero."""

    def parse(text: str) -> Any:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"{text} must be greater than zero")
        return value

    parse.__name__ = kind.__name__
    return parse
