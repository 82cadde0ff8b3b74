"""How pages display stored values."""

from django import template

from audit import values

register = template.Library()
register.filter("visible", values.visible)
