"""The console and the probes. Imported by URL configurations only."""
