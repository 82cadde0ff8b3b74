"""Programs that the tests of the whole portal start."""
