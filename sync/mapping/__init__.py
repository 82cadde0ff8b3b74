"""Rows and documents: which BSON type each field becomes, how a row is read exactly, and how the two differ.

Imports core only.
"""
