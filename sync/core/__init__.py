"""What every other package uses: settings, time, retries, batches and errors.

Imports nothing of sync.
"""
