"""Programs that the tests of accounts start."""
