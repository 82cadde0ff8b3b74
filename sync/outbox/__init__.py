"""The outbox: changes are recorded with their rows and delivered to every target.

Imported by the packages that find out what has to be delivered.
"""
