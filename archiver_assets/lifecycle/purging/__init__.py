"""Purge: delete the rows of proven generations from the table, in batches or by dropping leaves, and the dry run of a purge."""
