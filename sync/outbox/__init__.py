"""The outbox: changes are recorded with the rows they belong to, and delivered to every target.

Imported by the packages that find out what is to be delivered.
"""
