"""MongoDB as a server: clients, errors, change streams and what a collection is.

Imports mapping and core.
"""
