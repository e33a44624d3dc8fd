"""Audit Archiver: archive expired rows of PostgreSQL audit tables to S3, verify them there, and only then purge them."""
