"""Notifications, metrics and the log. Reads Dagster's storage; knows no PostgreSQL and no store."""
