"""What others are told about runs: notifications so far. Reads Dagster's storage; knows nothing of PostgreSQL's tables or of the store."""
