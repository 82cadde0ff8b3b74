"""MongoDB as a server: clients, errors, change streams and collection specs.

Imports mapping and core.
"""
