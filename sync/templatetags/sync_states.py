"""The names of the states for templates."""

from django import template
from django.utils.translation import gettext as _

from sync.monitoring.status import TITLES

register = template.Library()


@register.filter
def state_title(word: str) -> str:
    """Return the state's name in the reader's language; an unknown one as it is."""
    return _(TITLES.get(word, word))
