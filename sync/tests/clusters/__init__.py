"""Schedules on a Galera cluster of three nodes, each with its own writers and relay."""
