"""Compares rows with documents and repairs mismatches. Imported by jobs, pages and commands."""
