"""Several hosts on one machine, for tests of cut networks. Needs root and Linux."""
