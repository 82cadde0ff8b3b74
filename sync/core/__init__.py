"""What every other package uses: settings, time, retries, batches and errors. It imports nothing from other packages of
sync.
"""
