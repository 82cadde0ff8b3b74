"""Work that a relay process does in addition to delivering: jobs started from a page, and periodic tasks.

Pages and commands import this package.
"""
