"""Restore and read: generations loaded back into a table, or opened as a dataset."""
