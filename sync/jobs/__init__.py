"""Work that a relay does besides delivering: jobs started from a page, and periodic tasks.

Imported by pages and commands.
"""
