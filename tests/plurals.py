"""Finds wrong plurals such as "1 changes" in the text of pages and commands."""

from __future__ import annotations

import html
import re

PLURAL = re.compile(
    r"(?<![\w.,:/-])1 (?!ms\b|is\b|was\b|has\b|as\b|this\b|less\b|yes\b|across\b)([a-z]+s)\b", re.IGNORECASE
)
TAG = re.compile(r"<(script|style|select)\b.*?</\1>|<[^>]+>", re.DOTALL)
SINGULAR = {"address", "status", "process", "access", "class", "ms", "is", "was", "has", "as", "this", "less", "across"}


def wrong(text: str) -> list[str]:
    """The plurals that follow a 1. Tags separate text: a number in one cell does not count words in the next."""
    plain = html.unescape(TAG.sub("\n", text))
    return [match[0] for match in PLURAL.finditer(plain) if match[1].lower() not in SINGULAR]
