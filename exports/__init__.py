"""CSV downloads, for the records and for the audit log. Imports no other app."""
