"""Rows and documents: which BSON type each field is, how a row is read exactly, and how the two differ.

Imports core only.
"""
