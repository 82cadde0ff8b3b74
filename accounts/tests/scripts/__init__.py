"""Programs started by the tests of accounts."""
