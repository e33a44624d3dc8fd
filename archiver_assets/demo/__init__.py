"""Embedded servers and sample data: a PostgreSQL and an S3 server on loopback, for the demo and the tests, never for production."""
