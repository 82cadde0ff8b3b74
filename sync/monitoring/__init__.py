"""What the mirror knows of its own state: status, history, metrics and health.

Imported by pages and commands.
"""
