"""The fault runner: kills, freezes and disconnects writers, relays and servers at random, and checks the mirror.

`python -m sync.tests.chaos --schedules 200 --seed 1`; docs/faults.md describes a schedule.
"""
