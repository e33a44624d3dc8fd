"""PostgreSQL: sessions, the catalog, all SQL, reading rows in batches, deleting row versions."""
