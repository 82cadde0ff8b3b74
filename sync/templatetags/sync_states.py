"""The names of the states for templates."""

from django import template

from sync.monitoring.status import TITLES

register = template.Library()


@register.filter
def state_title(word: str) -> str:
    """Return the state's name; an unknown one as it is."""
    return TITLES.get(word, word)
