"""Attacks on every address as every kind of user. A new page is attacked without a new test."""
