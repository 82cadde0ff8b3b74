"""Compares rows with documents and repairs what differs. Imported by jobs, pages and commands."""
