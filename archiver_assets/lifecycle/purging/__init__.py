"""Purge: the rows of proven generations leave the table, by batches or by leaves, and what a dry run foresees of that."""
