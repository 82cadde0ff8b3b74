"""System checks: a misconfiguration that would lose changes is refused before anything runs.

Imported by the app config only.
"""
