"""Which metrics and labels a PromQL expression uses. promtool checks that it is one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}")
LABELS = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
NAME = re.compile(r"(?<![\w.$])([a-zA-Z_:][\w:]*)(?!\w*\s*\()")
KEYWORDS = {"and", "or", "unless", "bool", "offset"}


class Used(NamedTuple):
    """What an expression uses.

    metrics: the labels that each metric is matched by, by its name. groups: the labels of by, without, on, ignoring.
    """

    metrics: dict[str, set[str]]
    groups: set[str]


def used(expression: str) -> Used:
    """Return the metrics and labels of an expression."""
    text = STRING.sub('""', expression)
    groups = {name.strip() for match in LABELS.finditer(text) for name in match[1].split(",")}
    text = LABELS.sub(" ", text)
    metrics: dict[str, set[str]] = {}
    for name, labels in _selected(text):
        metrics.setdefault(name, set()).update(labels)
    return Used(metrics, groups)


def _selected(text: str) -> Iterator[tuple[str, set[str]]]:
    for match in SELECTOR.finditer(text):
        yield match[1], set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", match[2]))
    for match in NAME.finditer(re.sub(r"\[[^]]*\]", "", SELECTOR.sub(" ", text))):
        if match[1] not in KEYWORDS:
            yield match[1], set()
