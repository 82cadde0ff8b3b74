"""Schedules on a Galera cluster of three nodes, each with writers and a relay of its own."""
