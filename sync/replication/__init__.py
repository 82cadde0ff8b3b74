"""Replication with MongoDB as the source: collections are pulled into tables, or copied to other collections.

Imported by commands and checks.
"""
