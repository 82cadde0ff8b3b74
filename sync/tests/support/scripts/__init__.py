"""Programs that the tests start with `support.processes.script`."""
