"""System checks: reject a misconfiguration that would lose changes before any process starts.

Only the app config imports this package.
"""
