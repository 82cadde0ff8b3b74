"""The names of the states for templates."""

from django import template

from sync.monitoring.status import TITLES

register = template.Library()


@register.filter
def state_title(word: str) -> str:
    """Return the state's name, not yet translated."""
    return TITLES[word]
