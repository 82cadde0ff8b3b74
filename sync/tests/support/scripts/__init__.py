"""Programs that the tests of sync start, each with `support.processes.script`."""
