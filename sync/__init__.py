"""Keeps MongoDB in sync with a Django project's MySQL, MariaDB or SQLite database."""

__version__ = "0.9.0"  # of the package that other projects install: pyproject.toml reads it from here
