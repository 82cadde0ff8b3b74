"""The console's pages and the probes. Only URL configurations import this package."""
