"""Attacks on every address as every kind of person. A new page is attacked without a test of its own."""
