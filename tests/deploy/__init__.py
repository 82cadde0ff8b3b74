"""Tests of what deploy/ has for operators."""
