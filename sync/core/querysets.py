"""Querysets that write."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def alters_data(method: Callable[P, R]) -> Callable[P, R]:
    """Marks a method that a template must not call."""
    method.alters_data = True  # type: ignore[attr-defined]  # read by Django's templates
    return method
