"""What all workers share: heartbeats, lag, leases, checkpoints, the main loop and shutdown.

Imported by every package whose code runs in a worker.
"""
