"""How each language writes dates, where it differs from Django's own formats."""
