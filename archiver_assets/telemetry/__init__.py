"""What others are told about runs: notifications, metrics, the log. Reads Dagster's storage; knows no PostgreSQL and no store."""
