"""What long-running processes share: heartbeats, lag and shutdown.

Imported by every package whose code runs in a worker.
"""
