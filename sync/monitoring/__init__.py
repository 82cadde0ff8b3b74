"""The mirror's state: status, history, metrics and health.

Pages and commands import this package.
"""
