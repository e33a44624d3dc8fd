"""An embedded PostgreSQL and an embedded S3 server on loopback, with sample data: for the demo and the tests, never for production."""
