"""Restore and read: load generations back into a table, or open them as a dataset."""
