"""The fault runner: writers, relays and servers are killed, frozen and cut off at random, and nothing may be wrong.

`python -m sync.tests.chaos --schedules 200 --seed 1`; docs/explanation/faults.md says what a schedule does.
"""
